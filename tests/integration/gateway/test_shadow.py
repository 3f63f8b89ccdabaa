"""Shadow copies on real sockets: whatever the shadow does, the user sees nothing of it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.gateway.shadow import PAIR_KIND, DocumentPairs
from shipway.gateway.shadow_desk import ShadowSettings

pytestmark = pytest.mark.anyio
ASK = {"model": "chat", "messages": [{"role": "user", "content": "Hi, ann@example.org"}]}
PATH = "/v1/chat/completions"


async def fine(wire: Any) -> None:
    text = "from " + wire.heard.json()["messages"][0]["content"]
    usage = {"prompt_tokens": 4, "completion_tokens": 2}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    if not wire.heard.json().get("stream"):
        await wire.json({"choices": [choice], "usage": usage})
        return
    await wire.head()
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": "stop"}
    await wire.chunk(b"data: " + orjson.dumps({"choices": [delta], "usage": usage}) + b"\n\ndata: [DONE]\n\n")
    await wire.end()


def per_release(shadow: Any):
    """Play one script for stable and another for the shadow, told apart by the release's system prompt."""

    async def script(wire: Any) -> None:
        await (shadow if "rel_b" in wire.heard.json()["messages"][0]["content"] else fine)(wire)

    return script


async def hangs(wire: Any) -> None:
    await wire.heard.closed.wait()


async def fails(wire: Any) -> None:
    await wire.json({"error": {"message": "boom"}}, 500)


async def is_cut(wire: Any) -> None:
    wire.cut()


async def talks_nonsense(wire: Any) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<x>")


@pytest.fixture
def shadowed(run_gateway, quick):
    @asynccontextmanager
    async def make(settings: Any = None, share: float = 1.0, **limits: Any):
        async with run_gateway(settings or quick, shadow=ShadowSettings(**limits)) as bench:
            route = replace(bench.snapshot().route("chat"), shadow="rel_b", shadow_share=share)
            ask = replace(route, route="ask")
            bench.apply(bench.snapshot(routes=(route, ask), rollout="roll_1"))
            task = asyncio.ensure_future(bench.gateway.shadow.run())
            try:
                yield bench
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    return make


async def drained(bench: Any) -> None:
    while bench.gateway.shadow.queue.pending:
        await asyncio.sleep(0.001)


def counts(bench: Any) -> dict[str, int]:
    return dict(bench.gateway.shadow.queue.counts)


async def test_the_user_gets_stables_answer_and_the_shadow_is_asked_beside(shadowed):
    async with shadowed() as bench:
        bench.upstream.play(fine)
        _, body, headers = await bench.post(PATH, ASK)
        await drained(bench)

        assert body["choices"][0]["message"]["content"] == "from You are rel_a."
        assert headers["x-shipway-release"] == "rel_a"
        assert len(bench.upstream.heard) == 2
        user, shadow = bench.sink.records
        assert (shadow.release, shadow.shadow_of, shadow.id) == ("rel_b", user.id, f"{user.id}.shadow")


async def test_a_shadow_is_no_tenants_and_in_no_rollout(shadowed):
    async with shadowed() as bench:
        bench.upstream.play(fine)
        await bench.post(PATH, ASK)
        await drained(bench)
        user, shadow = bench.sink.records

        assert (user.tenant, user.rollout, user.shadow_of) == ("acme", "roll_1", "")
        assert (shadow.tenant, shadow.key_id, shadow.rollout, shadow.is_candidate) == ("", "", None, False)
        assert shadow.tokens_out == 2
        assert [record.id for record in bench.metrics.seen] == [user.id]
        assert [record.id for record in bench.logged] == [user.id]


@pytest.mark.parametrize("shadow", [hangs, fails, is_cut, talks_nonsense])
@pytest.mark.parametrize("stream", [False, True])
async def test_users_see_nothing_of_a_bad_shadow(shadowed, quick, shadow, stream):
    settings = replace(quick, llm_deadline_s=1.0, first_token_s=1.0, breaker_failures=2)
    async with shadowed(settings, max_queued=4, max_active=1) as bench:
        bench.upstream.play(per_release(shadow))
        for _ in range(8):
            if stream:
                assert (await bench.stream(ASK)).endswith(b"data: [DONE]\n\n")
            else:
                assert (await bench.post(PATH, ASK))[0] == 200
        users = [record for record in bench.sink.records if not record.shadow_of]

        assert [record.status for record in users] == [200] * 8
        assert not any(record.events for record in users if "usage_estimated" not in record.events)
        found = counts(bench)
        assert found["offered"] == 8
        assert found.get("done", 0) == 0


async def test_a_failing_shadow_opens_no_breaker_of_the_users(shadowed, quick):
    async with shadowed(replace(quick, breaker_failures=1)) as bench:
        bench.upstream.play(per_release(fails))
        for _ in range(5):
            assert (await bench.post(PATH, ASK))[0] == 200
            await drained(bench)

        shadows = [record for record in bench.sink.records if record.shadow_of]
        assert len(shadows) == 5
        assert {record.status for record in shadows} <= {502, 503}


async def test_a_full_queue_drops_copies_and_counts_them(shadowed):
    async with shadowed(max_queued=2, max_active=1) as bench:
        bench.upstream.play(per_release(hangs))
        for _ in range(6):
            await bench.post(PATH, ASK)

        found = counts(bench)
        assert found["offered"] == 6
        assert found["dropped_full"] == 3


async def test_a_request_with_a_hosted_tool_is_not_copied(shadowed):
    async with shadowed() as bench:
        bench.upstream.play(fine)
        await bench.post(PATH, {**ASK, "tools": [{"type": "web_search"}]})
        await drained(bench)

        assert len(bench.upstream.heard) == 1
        assert counts(bench) == {"offered": 1, "dropped_tools": 1}


async def test_a_request_that_failed_is_not_copied(shadowed):
    async with shadowed() as bench:
        bench.upstream.play(fails)
        assert (await bench.post(PATH, ASK))[0] == 502
        assert counts(bench) == {}


async def test_without_a_share_nothing_is_copied(shadowed):
    async with shadowed(share=0.0) as bench:
        bench.upstream.play(fine)
        await bench.post(PATH, ASK)

        assert counts(bench) == {}


async def test_a_shadow_that_is_not_loaded_is_noted(shadowed):
    async with shadowed() as bench:
        routes = bench.serving.current.snapshot.routes
        releases = {name: loaded for name, loaded in bench.serving.current.releases.items() if name != "rel_b"}
        bench.serving.apply(bench.snapshot(version=2, routes=routes), releases, silent=False)
        bench.upstream.play(fine)
        assert (await bench.post(PATH, ASK))[0] == 200
        await drained(bench)

        assert counts(bench)["failed"] == 1
        assert ("shadow_failed" in [name for name, _ in bench.notes]) is True


async def test_an_answer_from_documents_is_shadowed_with_the_callers_own_rights(shadowed):
    async with shadowed() as bench:
        await bench.post(PATH, {**ASK, "model": "ask"})
        await drained(bench)

        assert len(bench.answerer.asked) == 2
        assert bench.answerer.asked[0][2] == bench.answerer.asked[1][2]


@pytest.mark.parametrize("stream", [False, True])
async def test_pairs_of_answers_are_kept_masked_by_request(shadowed, stream):
    store = MemoryStore()
    pairs = DocumentPairs(store.documents, worker="w0")
    async with shadowed(pairs=pairs) as bench:
        bench.upstream.play(fine)
        await (bench.stream(ASK) if stream else bench.post(PATH, ASK))
        await drained(bench)
        [(_, pair, _)] = await store.documents.list(PAIR_KIND)

        assert pair["request_id"] == bench.sink.records[0].id
        assert (pair["stable"], pair["stable_answer"]) == ("rel_a", "from You are rel_a.")
        assert (pair["shadow"], pair["shadow_answer"]) == ("rel_b", "from You are rel_b.")
        assert pair["question"] == "Hi, [email]"
