"""Redis that goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
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
        await bench.limits.standings(quota)
        bench.server.stop()
        found = [await bench.limits.reserve(quota, 1, 1) for _ in range(10)]
        assert sum(not isinstance(one, Excess) for one in found) == 4
        assert bench.events == ["limits_lost"]


async def test_what_was_spent_meanwhile_is_counted_when_redis_is_back(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared(BUCKETS)
        await bench.limits.standings(quota)
        bench.server.stop()
        hold = await bench.limits.reserve(quota, 100, 100)
        bench.limits.settle(hold, 70, 60)
        bench.server.start()
        await bench.back()
        left = {item.bucket.measure.value: item.remaining for item in await bench.limits.standings(quota)}
        assert (left["tokens"], left["daily_usd"], left["concurrent requests"]) == (930, 940, 8)


async def spent(limits: RedisLimits, quota: Any, amount: int, times: int) -> int:
    """Spend an amount again and again; returns how much was let through."""
    total = 0
    for _ in range(times):
        hold = await limits.reserve(quota, 0, amount)
        if not isinstance(hold, Excess):
            limits.settle(hold, 0, amount)
            total += amount
    return total


async def test_an_outage_gives_out_a_share_of_what_was_left_not_of_the_whole_budget(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared([daily("t", 1000)])
        assert await spent(bench.limits, quota, 100, 9) == 900
        bench.server.stop()

        assert await spent(bench.limits, quota, 10, 100) == 50


async def test_what_another_worker_spent_is_known_when_redis_goes(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        other = Bench(bench.server, OnLoss.LOCAL_SHARE)
        work = asyncio.ensure_future(other.limits.run())
        quota, others = (each.limits.prepared([daily("t", 1000)]) for each in (bench, other))
        await bench.limits.standings(quota)
        before = await spent(other.limits, others, 100, 9)
        await other.limits.standings(others)
        bench.limits.look()
        await bench.back()
        await bench.limits.standings(bench.limits.prepared([places("k", 1)]))
        bench.server.stop()

        meanwhile = [await spent(limits, q, 7, 200) for limits, q in ((bench.limits, quota), (other.limits, others))]

        assert before + sum(meanwhile) <= 1000
        assert all(meanwhile)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await other.limits.close()


async def test_a_budget_that_a_worker_has_never_heard_of_gives_nothing_meanwhile(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        known, unknown = bench.limits.prepared([daily("t", 1000)]), bench.limits.prepared([daily("u", 1000)])
        free = bench.limits.prepared([requests("k", 8, 0.001)])
        await bench.limits.standings(known)
        bench.server.stop()

        assert await spent(bench.limits, known, 10, 1) == 10
        assert not isinstance(await bench.limits.reserve(free, 0, 0), Excess)
        for _ in range(5):
            with pytest.raises(LimitsLostError, match="not known"):
                await bench.limits.reserve(unknown, 0, 10)


async def test_a_second_outage_does_not_give_out_what_the_first_has(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared([daily("t", 1000)])
        await bench.limits.standings(quota)
        bench.server.stop()
        assert await spent(bench.limits, quota, 10, 100) == 500
        assert await spent(bench.limits, quota, 10, 100) == 0
        bench.server.start()
        await bench.back()
        (left,) = await bench.limits.standings(quota)
        assert left.remaining == 500
        bench.server.stop()

        assert await spent(bench.limits, quota, 10, 100) == 250


async def test_what_was_spent_meanwhile_is_counted_once_however_often_it_is_sent(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared([daily("t", 1000), tokens("k", 1000, 0.001)])
        await bench.limits.standings(quota)
        bench.server.stop()
        hold = await bench.limits.reserve(quota, 50, 100)
        bench.limits.settle(hold, 40, 60)
        (command,) = bench.limits._commands
        # Sent, and the answer lost; and given up before it was ever sent.
        bench.limits._commands.extend([replace(command, repeated=True), command])
        bench.limits._lose([], OSError("again"))
        bench.server.start()
        await bench.back()

        left = {item.bucket.measure.value: item.remaining for item in await bench.limits.standings(quota)}
        assert (left["daily_usd"], left["tokens"]) == (940, 960)


async def test_a_request_that_is_turned_away_meanwhile_has_taken_nothing_of_the_share(tmp_path):
    async with running(tmp_path, OnLoss.LOCAL_SHARE) as bench:
        quota = bench.limits.prepared([daily("t", 1000), requests("k", 4, 0.001)])
        await bench.limits.standings(quota)
        bench.server.stop()
        for _ in range(20):
            hold = await bench.limits.reserve(quota, 0, 500)
            assert not isinstance(hold, Excess)
            bench.limits.release(hold)
        assert isinstance(await bench.limits.reserve(quota, 0, 501), Excess)
        assert not isinstance(await bench.limits.reserve(quota, 0, 500), Excess)


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
