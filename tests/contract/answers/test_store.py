"""Every answer store keeps what it is given, for as long as it was told, and apart by key."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.adapters.redis_answers.answers import RedisAnswers
from shipway.adapters.redis_answers.client import RestingRedis
from shipway.core.clock import SystemClock
from shipway.gateway.cache_model import AnswerStore, CacheKey, Form, StoredAnswer
from shipway.gateway.model import Usage

pytestmark = pytest.mark.anyio
KEY = CacheKey("rel_a", "1")


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnswerStore]:
    if request.param == "memory":
        made: AnswerStore = MemoryAnswers(SystemClock(), max_bytes=1 << 20)
    else:
        url = request.getfixturevalue("redis_url")
        made = RedisAnswers(RestingRedis(url, SystemClock()), prefix=f"{tmp_path.name}:", max_answer_bytes=100_000)
    yield made
    await made.close()


def answer(body: bytes = b"hello") -> StoredAnswer:
    return StoredAnswer(Form.WHOLE, body, usage=Usage(3, 1, 2), documents=("a.md",), events=("abstained",))


async def test_an_answer_comes_back_as_it_was(store):
    await store.put(KEY, answer(b"\x00\n\xff"), ttl_s=60)

    assert await store.get(KEY) == answer(b"\x00\n\xff")


async def test_another_key_finds_nothing(store):
    await store.put(KEY, answer(), ttl_s=60)

    assert await store.get(CacheKey("rel_a", "2")) is None
    assert await store.get(CacheKey("rel_b", "1")) is None


async def test_a_second_answer_takes_the_place_of_the_first(store):
    await store.put(KEY, answer(b"one"), ttl_s=60)
    await store.put(KEY, answer(b"two"), ttl_s=60)

    assert (await store.get(KEY)).body == b"two"


async def test_an_answer_expires(store):
    await store.put(KEY, answer(), ttl_s=0.001)
    while await store.get(KEY) is not None:
        pass

    assert await store.get(KEY) is None


async def test_a_release_is_forgotten_and_no_other(store):
    names = ["rel_a", "rel_ab", "rel_*", "rel_b"]
    for name in names:
        await store.put(CacheKey(name, "1"), answer(), ttl_s=60)
        await store.put(CacheKey(name, "2"), answer(), ttl_s=60)

    assert await store.forget("rel_*") == 2
    assert await store.forget("rel_a") == 2
    assert [await store.get(CacheKey(name, "1")) is not None for name in names] == [False, True, False, True]


async def test_an_answer_that_is_too_large_is_not_kept(store):
    await store.put(KEY, answer(b"x" * 500_000), ttl_s=60)

    assert await store.get(KEY) is None
