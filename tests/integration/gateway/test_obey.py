"""A gateway that obeys other settings: from the next request on, without losing what it knows or who is under way."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shipway.adapters.memory.answers import MemoryAnswers
from shipway.adapters.memory.limits import MemoryLimits
from shipway.config.sections.routes import Rates
from shipway.core.clock import SystemClock
from shipway.gateway.cache import AnswerCache, CacheParts
from shipway.gateway.cache_model import CachePolicy
from shipway.gateway.kept import Kept
from shipway.gateway.model import GatewaySettings, ModelPrice
from shipway.gateway.quota_book import QuotaBook, QuotaRules
from shipway.gateway.shadow_desk import ShadowSettings

pytestmark = pytest.mark.anyio
ASK = {"model": "chat", "messages": [{"role": "user", "content": "What is it?"}], "temperature": 0}
PATH = "/v1/chat/completions"


async def answering(wire: Any) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"index": 0, "message": {"role": "assistant", "content": "An answer."}, "finish_reason": "stop"}
    await wire.json({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})


async def failing(wire: Any) -> None:
    await wire.json({"error": {"message": "broken"}}, status=500)


class Held:
    """An upstream that waits for a word."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, wire: Any) -> None:
        await self.go.wait()
        await answering(wire)


def obey(bench: Any, settings: GatewaySettings, **parts: Any) -> None:
    bench.gateway.obey(replace(bench.gateway._parts, **parts), settings)


def cache_of(store: MemoryAnswers, *routes: str) -> AnswerCache:
    policies = {name: CachePolicy() for name in routes}
    return AnswerCache(CacheParts(store, policies, SystemClock(), lambda *_, **__: None, GatewaySettings()))


def book(limits: MemoryLimits, per_min: int) -> QuotaBook:
    return QuotaBook(limits, limits, QuotaRules(Rates(per_key_min=per_min, headers="all")))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_request_under_way_is_charged_by_the_prices_it_began_with(run_gateway, quick):
    cheap, dear = (replace(quick, prices={"tiny": ModelPrice(usd, usd, usd)}) for usd in (1.0, 1000.0))
    held = Held()
    async with run_gateway(cheap) as bench:
        bench.upstream.play(held, answering)
        first = asyncio.ensure_future(bench.post(PATH, ASK))
        await bench.upstream.arrived.wait()

        obey(bench, dear)
        await bench.post(PATH, ASK)
        held.go.set()
        assert (await first)[0] == 200

    costs = sorted(record.cost_usd for record in bench.sink.records)
    assert costs == pytest.approx([15e-6, 15e-3])


async def test_an_engine_that_rests_goes_on_resting(run_gateway, quick):
    async with run_gateway(replace(quick, max_attempts=1)) as bench:
        bench.upstream.play(failing)
        for _ in range(quick.breaker_failures):
            await bench.post(PATH, ASK)
        asked = len(bench.upstream.heard)

        obey(bench, replace(quick, max_attempts=2))
        status, body, _ = await bench.post(PATH, ASK)

        assert (status, body["error"]["code"]) == (503, "engine_resting")
        assert len(bench.upstream.heard) == asked


async def test_other_retries_hold_for_the_next_request(run_gateway, quick):
    async def busy(wire: Any) -> None:
        await wire.json({}, status=503)

    async with run_gateway(replace(quick, max_attempts=1)) as bench:
        bench.upstream.play(busy)
        await bench.post(PATH, ASK)
        assert len(bench.upstream.heard) == 1

        obey(bench, replace(quick, max_attempts=3, retry_share=1.0))
        await bench.post(PATH, ASK)
        assert len(bench.upstream.heard) == 4


async def test_who_waits_for_a_place_gets_one_of_the_new_ones(run_gateway, quick):
    held = Held()
    async with run_gateway(replace(quick, max_active=1)) as bench:
        bench.upstream.play(held)
        first = asyncio.ensure_future(bench.post(PATH, ASK))
        second = asyncio.ensure_future(bench.post(PATH, ASK))
        await until(lambda: (bench.gateway.at_work, bench.gateway.places.waiting) == (1, 1))

        obey(bench, replace(quick, max_active=2))
        await until(lambda: (bench.gateway.at_work, bench.gateway.places.waiting) == (2, 0))

        held.go.set()
        assert [(await each)[0] for each in (first, second)] == [200, 200]
        await until(lambda: bench.gateway.at_work == 0)


async def test_an_equal_request_after_the_change_follows_the_one_from_before_it(run_gateway, quick):
    store, held = MemoryAnswers(SystemClock(), max_bytes=1 << 20), Held()
    before, after = cache_of(store, "chat"), cache_of(store, "chat", "ask")
    async with run_gateway(quick, kept=Kept(cache=before)) as bench:
        bench.upstream.play(held)
        first = asyncio.ensure_future(bench.post(PATH, ASK))
        await bench.upstream.arrived.wait()

        after.inherit(before)
        obey(bench, quick, kept=Kept(cache=after))
        second = asyncio.ensure_future(bench.post(PATH, ASK))
        await until(lambda: bench.gateway.at_work == 2)
        held.go.set()

        assert [(await each)[0] for each in (first, second)] == [200, 200]
        assert len(bench.upstream.heard) == 1
        assert (await bench.post(PATH, ASK))[2]["x-shipway-cache"] == "hit"


async def test_a_cache_that_is_taken_away_is_not_asked_any_more(run_gateway, quick):
    store = MemoryAnswers(SystemClock(), max_bytes=1 << 20)
    async with run_gateway(quick, kept=Kept(cache=cache_of(store, "chat"))) as bench:
        bench.upstream.play(answering)
        await bench.post(PATH, ASK)
        obey(bench, quick, kept=Kept())

        _, _, headers = await bench.post(PATH, ASK)

        assert "x-shipway-cache" not in headers
        assert len(bench.upstream.heard) == 2


async def test_what_was_used_of_a_limit_counts_against_the_new_one(run_gateway, quick):
    limits = MemoryLimits(SystemClock())
    async with run_gateway(quick, quotas=book(limits, 20)) as bench:
        bench.upstream.play(answering)
        for _ in range(8):
            assert (await bench.post(PATH, ASK))[0] == 200

        obey(bench, quick, quotas=book(limits, 10))
        found = [await bench.post(PATH, ASK) for _ in range(2)]

        # Eight of a burst of ten were used, so four of a burst of five are.
        assert [status for status, _, _ in found] == [200, 429]
        assert {headers["x-ratelimit-limit-requests"] for _, _, headers in found} == {"10"}


async def test_shadow_counts_and_the_shadows_own_breakers_outlive_a_change(run_gateway, quick):
    async with run_gateway(quick, shadow=ShadowSettings(max_queued=4)) as bench:
        former = bench.gateway.shadow
        former.queue.counts["offered"] = 3

        obey(bench, quick, shadow=ShadowSettings(max_queued=8))

        assert bench.gateway.shadow is not former
        assert bench.gateway.shadow.queue.counts["offered"] == 3
        assert bench.gateway.shadow.calls is former.calls
