"""Every conversation store keeps tenants apart, turns in order, and no more than it was told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipway.adapters.memory.conversations import DocumentConversations, MemoryConversations
from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.redis_answers.client import RestingRedis
from shipway.adapters.redis_answers.conversations import RedisConversations
from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import SystemClock
from shipway.gateway.memory import ConversationStore, MemoryPolicy, Owner, Turn

pytestmark = pytest.mark.anyio
POLICY = MemoryPolicy(ttl_s=60, max_turns=3, max_chars=100)
ANN = Owner("acme", "c1")


@pytest.fixture(params=["memory", "documents", "sql", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ConversationStore]:
    clock = SystemClock()
    state: MemoryStore | SqlStore | None = None
    if request.param == "memory":
        made: ConversationStore = MemoryConversations(clock)
    elif request.param == "redis":
        url = request.getfixturevalue("redis_url")
        made = RedisConversations(RestingRedis(url, clock), prefix=f"{tmp_path.name}:")
    else:
        state = MemoryStore() if request.param == "documents" else await SqlStore.open(tmp_path / "s.db", create=True)
        made = DocumentConversations(state.documents, clock)
    yield made
    await made.close()
    if state is not None:
        await state.close()


def turn(number: int, size: int = 1) -> Turn:
    return Turn(f"q{number}" * size, f"a{number}")


async def test_another_tenants_conversation_of_the_same_name_is_not_seen(store):
    await store.remember(ANN, turn(1), POLICY)
    other = Owner("rival", "c1")

    assert await store.recall(other, POLICY) == ()
    assert not await store.forget(other)
    assert await store.recall(ANN, POLICY) == (turn(1),)


@pytest.mark.parametrize(
    "other", [Owner("acme:c", "1"), Owner("acme", "c12"), Owner("", "acmec1"), Owner("c1", "acme")]
)
async def test_no_two_owners_share_a_memory(store, other):
    await store.remember(ANN, turn(1), POLICY)

    assert await store.recall(other, POLICY) == ()


async def test_turns_come_back_in_order_and_only_the_newest(store):
    for number in range(5):
        await store.remember(ANN, turn(number), POLICY)

    assert await store.recall(ANN, POLICY) == (turn(2), turn(3), turn(4))


async def test_the_size_of_a_conversation_is_bounded(store):
    await store.remember(ANN, turn(1, 20), POLICY)
    await store.remember(ANN, turn(2, 20), POLICY)
    await store.remember(ANN, turn(3, 20), POLICY)

    assert await store.recall(ANN, POLICY) == (turn(2, 20), turn(3, 20))
    await store.remember(ANN, turn(4, 500), POLICY)
    assert await store.recall(ANN, POLICY) == ()


async def test_a_conversation_expires_after_its_last_turn(store):
    short = MemoryPolicy(ttl_s=0.001)
    await store.remember(ANN, turn(1), short)
    while await store.recall(ANN, short):
        pass

    await store.remember(ANN, turn(2), POLICY)
    assert await store.recall(ANN, POLICY) == (turn(2),)


async def test_a_conversation_is_forgotten_when_asked(store):
    await store.remember(ANN, turn(1), POLICY)

    assert await store.forget(ANN)
    assert await store.recall(ANN, POLICY) == ()
    assert not await store.forget(ANN)


async def test_turns_of_requests_at_the_same_time_all_stay(store):
    await asyncio.gather(*(store.remember(ANN, turn(number), POLICY) for number in range(3)))

    assert sorted(await store.recall(ANN, POLICY), key=lambda item: item.user) == [turn(0), turn(1), turn(2)]


async def test_what_has_expired_is_purged_from_the_documents():
    state = MemoryStore()
    made = DocumentConversations(state.documents, SystemClock())
    await made.remember(ANN, turn(1), MemoryPolicy(ttl_s=-1))
    await made.remember(Owner("acme", "c2"), turn(2), POLICY)

    assert await made.purge() == 1
    assert len(await state.documents.list("conversation")) == 1


async def test_the_conversation_that_was_quiet_longest_makes_room():
    made = MemoryConversations(SystemClock(), max_conversations=2)
    for number in range(3):
        await made.remember(Owner("acme", f"c{number}"), turn(number), POLICY)

    assert [bool(await made.recall(Owner("acme", f"c{number}"), POLICY)) for number in range(3)] == [False, True, True]
