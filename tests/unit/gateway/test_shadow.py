import asyncio

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.principal import Principal
from shipway.core.snapshot import KeyEntry
from shipway.gateway.auth import Caller
from shipway.gateway.conversation import Conversation
from shipway.gateway.shadow import (
    PAIR_KIND,
    DocumentPairs,
    ShadowCopy,
    ShadowPair,
    ShadowQueue,
    is_shadowed,
    unfit_because,
)
from shipway.gateway.validate import Endpoint, model_call

pytestmark = pytest.mark.anyio


def call(**fields):
    return model_call(Endpoint.CHAT, {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], **fields})


def copy(number: int = 0, **fields) -> ShadowCopy:
    who = Caller(
        KeyEntry("key_1", "", "acme", (), ("invoke",)), Principal("acme", frozenset(), "key_1", frozenset({"invoke"}))
    )
    return ShadowCopy(f"req_{number}", "rel_b", "rel_a", Conversation("c", "header"), call(**fields), who)


class Engine:
    """Serves copies when it is let."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.served: list[str] = []
        self.running = 0
        self.most = 0

    async def __call__(self, item: ShadowCopy) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.may.wait()
            self.served.append(item.request_id)
        finally:
            self.running -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def stopped(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_full_queue_drops_and_counts_and_never_waits():
    engine = Engine()
    queue = ShadowQueue(engine, lambda *_, **__: None, max_queued=3, max_active=2)

    assert [queue.offer(copy(number)) for number in range(5)] == [True, True, True, False, False]
    assert queue.counts == {"offered": 5, "dropped_full": 2}


async def test_no_more_run_at_a_time_than_allowed_and_all_that_fit_are_served():
    engine = Engine()
    queue = ShadowQueue(engine, lambda *_, **__: None, max_queued=10, max_active=2)
    task = asyncio.ensure_future(queue.run())
    for number in range(6):
        queue.offer(copy(number))
    await settle()
    assert (engine.running, queue.pending) == (2, 6)
    engine.may.set()
    await settle()

    assert sorted(engine.served) == [f"req_{number}" for number in range(6)]
    assert engine.most == 2
    assert queue.counts["done"] == 6
    await stopped(task)


async def test_a_shadow_that_fails_is_noted_and_the_next_is_served():
    notes = []
    calls = []

    async def broken(item: ShadowCopy) -> None:
        calls.append(item.request_id)
        raise RuntimeError("boom")

    queue = ShadowQueue(broken, lambda event, **fields: notes.append((event, fields)), max_active=1)
    task = asyncio.ensure_future(queue.run())
    queue.offer(copy(1))
    queue.offer(copy(2))
    await settle()

    assert calls == ["req_1", "req_2"]
    assert queue.counts["failed"] == 2
    assert [event for event, _ in notes] == ["shadow_failed"] * 2
    await stopped(task)


async def test_a_shadow_that_hangs_is_given_up():
    queue = ShadowQueue(Engine(), lambda *_, **__: None, max_active=1, max_copy_s=0.0)
    task = asyncio.ensure_future(queue.run())
    queue.offer(copy(1))
    await settle()

    assert queue.counts["failed"] == 1
    await stopped(task)


async def test_every_copy_is_accounted_for_at_the_end():
    engine = Engine()
    queue = ShadowQueue(engine, lambda *_, **__: None, max_queued=3, max_active=1)
    task = asyncio.ensure_future(queue.run())
    await settle()
    for number in range(3):
        queue.offer(copy(number))
    await settle()
    queue.offer(copy(4))
    queue.offer(copy(5))
    await stopped(task)

    counts = queue.counts
    assert counts["offered"] == 5
    assert counts["done"] + counts["failed"] + counts["dropped_full"] + counts["dropped_stopped"] == 5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, ""),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function"}, {"type": "mcp"}]}, "tools"),
        ({"tools": ["x"]}, "tools"),
        ({"web_search_options": {"size": 1}}, "tools"),
        ({"store": True}, "store"),
    ],
)
def test_a_request_whose_tools_would_run_at_the_engine_is_never_copied(fields, reason):
    item = copy()
    body = {**item.call.body, **fields}
    from dataclasses import replace

    assert unfit_because(replace(item.call, body=body)) == reason


def test_the_share_decides_how_many_get_a_copy_and_the_same_ones_everywhere():
    ids = [f"req_{number}" for number in range(2000)]
    chosen = [name for name in ids if is_shadowed("rel_b", 0.25, name)]

    assert 400 < len(chosen) < 600
    assert chosen == [name for name in ids if is_shadowed("rel_b", 0.25, name)]
    assert not any(is_shadowed("rel_b", 0.0, name) or is_shadowed(None, 1.0, name) for name in ids)
    assert all(is_shadowed("rel_b", 1.0, name) for name in ids)


async def test_pairs_are_masked_and_the_oldest_gives_its_place():
    store = MemoryStore()
    pairs = DocumentPairs(store.documents, worker="w0", max_pairs=2)
    for number in range(3):
        await pairs.add(ShadowPair(f"req_{number}", 1.0, "chat", "rel_a", "rel_b", "ann@example.org?", "a", "b"))
    rows = [body for _, body, _ in await store.documents.list(PAIR_KIND)]

    assert sorted(row["request_id"] for row in rows) == ["req_1", "req_2"]
    assert all("ann@" not in row["question"] for row in rows)
