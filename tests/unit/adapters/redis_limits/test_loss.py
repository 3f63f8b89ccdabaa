"""Redis that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("redis")

from tests.contract.limits.buckets import daily, places, requests, tokens
from tests.redis_server import RedisServer, serving_redis

from shipway.adapters.redis_limits.limits import OnLoss, RedisLimits, RedisSettings, connected
from shipway.core.clock import SystemClock
from shipway.gateway.quota import Excess, LimitsLostError

BUCKETS = [requests("k", 8, 0.001), tokens("k", 1000, 0.001), places("k", 8), daily("t", 1000)]


class Bench:
    def __init__(self, server: RedisServer, on_loss: OnLoss) -> None:
        self.server = server
        self.notes: list[tuple[str, dict[str, Any]]] = []
        settings = RedisSettings(on_loss=on_loss, share=0.5, retry_first_s=0.01, retry_cap_s=0.05)
        client = connected(server.url, 10.0)
        self.limits = RedisLimits(client, SystemClock(), settings, note=self._note, uniform=lambda: 0.5)

    def _note(self, event: str, **fields: Any) -> None:
        self.notes.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.notes]

    async def back(self) -> None:
        while self.limits.lost or self.limits._commands:
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(folder: Path, on_loss: OnLoss) -> AsyncIterator[Bench]:
    with serving_redis(folder) as server:
        bench = Bench(server, on_loss)
        work = asyncio.ensure_future(bench.limits.run())
        try:
            yield bench
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await bench.limits.close()


async def test_while_redis_is_gone_nobody_passes_and_one_line_says_so(tmp_path):
    async with running(tmp_path, OnLoss.FAIL_CLOSED) as bench:
        quota = bench.limits.prepared(BUCKETS)
        assert not isinstance(await bench.limits.reserve(quota, 1, 1), Excess)
        bench.server.stop()
        for _ in range(50):
            with pytest.raises(LimitsLostError):
                await bench.limits.reserve(quota, 1, 1)
        assert bench.events == ["limits_lost"]
        bench.server.start()
        await bench.back()
        assert not isinstance(await bench.limits.reserve(quota, 1, 1), Excess)
        assert bench.events == ["limits_lost", "limits_back"]


async def test_requests_that_wait_when_redis_goes_are_told_at_once(tmp_path):
    async with running(tmp_path, OnLoss.FAIL_CLOSED) as bench:
        quota = bench.limits.prepared(BUCKETS)
        await bench.limits.reserve(quota, 1, 1)
        bench.server.stop()
        asked = [bench.limits.reserve(quota, 1, 1) for _ in range(20)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, LimitsLostError) for one in found)
        assert bench.events == ["limits_lost"]


async def test_a_worker_may_give_out_its_own_share_meanwhile(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared(BUCKETS)
        bench.server.stop()
        found = [await bench.limits.reserve(quota, 1, 1) for _ in range(10)]
        assert sum(not isinstance(one, Excess) for one in found) == 4
        assert bench.events == ["limits_lost"]


async def test_what_was_spent_meanwhile_is_counted_when_redis_is_back(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared(BUCKETS)
        bench.server.stop()
        hold = await bench.limits.reserve(quota, 100, 100)
        bench.limits.settle(hold, 70, 60)
        bench.server.start()
        await bench.back()
        left = {item.bucket.measure.value: item.remaining for item in await bench.limits.standings(quota)}
        assert (left["tokens"], left["daily_usd"], left["concurrent requests"]) == (930, 940, 8)


async def test_a_redis_that_forgot_its_scripts_is_told_them_again(tmp_path):
    async with running(tmp_path, OnLoss.FAIL_CLOSED) as bench:
        quota = bench.limits.prepared(BUCKETS)
        await bench.limits.reserve(quota, 1, 1)
        await bench.limits._client.script_flush()
        await bench.limits._client.flushall()
        assert not isinstance(await bench.limits.reserve(quota, 1, 1), Excess)
        assert bench.events == []


async def test_a_redis_that_does_not_take_writes_lets_nobody_in(tmp_path):
    async with running(tmp_path, OnLoss.FAIL_CLOSED) as bench:
        quota = bench.limits.prepared(BUCKETS)
        await bench.limits._client.config_set("maxmemory", "1")
        await bench.limits._client.config_set("maxmemory-policy", "noeviction")
        # Redis looks at its memory after a command, so the first one may still pass.
        await asyncio.gather(bench.limits.reserve(quota, 1, 1), return_exceptions=True)
        with pytest.raises(LimitsLostError):
            await bench.limits.reserve(quota, 1, 1)
        assert set(bench.events) == {"limits_not_counted"}


async def test_who_stops_waiting_for_a_reservation_holds_nothing(tmp_path):
    async with running(tmp_path, OnLoss.FAIL_CLOSED) as bench:
        quota = bench.limits.prepared([places("k", 1)])
        asked = asyncio.ensure_future(bench.limits.reserve(quota, 0, 0))
        while not bench.limits._commands:
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        while isinstance(await bench.limits.reserve(quota, 0, 0), Excess):
            await asyncio.sleep(0)


async def test_a_worker_that_is_told_to_stop_stops_in_the_middle_of_a_batch(tmp_path):
    with serving_redis(tmp_path) as server:
        for turns in range(12):
            bench = Bench(server, OnLoss.FAIL_CLOSED)
            work = asyncio.ensure_future(bench.limits.run())
            quota = bench.limits.prepared([tokens("k", 1000, 0.001)])
            bench.limits.settle(await bench.limits.reserve(quota, 10, 0), 1, 0)
            for _ in range(turns):
                await asyncio.sleep(0)
            work.cancel()
            async with asyncio.timeout(5.0):
                await asyncio.gather(work, return_exceptions=True)
            await bench.limits.close()
            assert bench.events == []
        bench = Bench(server, OnLoss.FAIL_CLOSED)
        work = asyncio.ensure_future(bench.limits.run())
        quota = bench.limits.prepared([tokens("k", 1000, 0.001)])
        (found,) = await bench.limits.standings(quota)
        # Each of them is counted once, although some were sent twice.
        assert found.remaining == 1000 - 12
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await bench.limits.close()
