"""What every cache of answers does."""

from contextlib import asynccontextmanager

import pytest

from shipway.adapters.memory.responses import MemoryResponseCache
from shipway.adapters.response_cache.sqlite import opened_cache
from shipway.core.canonical import digest_json
from shipway.core.clock import ManualClock
from shipway.evals.model import Output, ToolCall

KEY, OTHER = digest_json("one"), digest_json("other")
FULL = Output(
    answer="Ja, «ja» 😀",
    model_text="ja",
    citations=("a", "b"),
    retrieved=("a",),
    events=("abstained",),
    latency_ms=1.5,
    tokens_in=3,
    tokens_out=4,
    cost_usd=0.25,
    passages=("p",),
    tool_calls=(ToolCall("find", {"what": ["x"]}),),
    ttft_ms=0.5,
)


@asynccontextmanager
async def in_memory(_path):
    yield MemoryResponseCache()


@pytest.fixture(params=["memory", "sqlite"])
def opened(request, tmp_path):
    if request.param == "memory":
        return lambda: in_memory(tmp_path)
    return lambda: opened_cache(tmp_path / "cache" / "responses.db", ManualClock())


async def test_what_was_kept_comes_back_as_it_was(opened):
    async with opened() as cache:
        await cache.put(KEY, FULL)
        assert await cache.get(KEY) == FULL
        assert await cache.get(OTHER) is None


async def test_the_later_answer_counts(opened):
    async with opened() as cache:
        await cache.put(KEY, Output(answer="old"))
        await cache.put(KEY, Output(answer="new"))
        assert (await cache.get(KEY)).answer == "new"


async def test_an_error_is_asked_for_again(opened):
    async with opened() as cache:
        await cache.put(KEY, Output(error="timeout"))
        assert await cache.get(KEY) is None
