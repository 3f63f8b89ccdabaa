import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.clock import ManualClock
from shipway.gateway.limits import ConcurrencyLimit, RateLimit
from shipway.gateway.replies import RefusedError


def test_a_burst_passes_and_the_next_waits_one_interval():
    clock = ManualClock()
    limit = RateLimit(clock, per_min=60, burst=3)
    assert [limit.wait_s("k") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.wait_s("k") == pytest.approx(1.0)
    clock.advance(1.0)
    assert limit.wait_s("k") == 0.0


def test_a_rejected_request_consumes_nothing():
    clock = ManualClock()
    limit = RateLimit(clock, per_min=60, burst=1)
    limit.wait_s("k")
    waits = [limit.wait_s("k") for _ in range(100)]
    assert len(set(waits)) == 1
    clock.advance(1.0)
    assert limit.wait_s("k") == 0.0


def test_keys_do_not_share_their_rate():
    limit = RateLimit(ManualClock(), per_min=1, burst=1)
    assert limit.wait_s("a") == limit.wait_s("b") == 0.0
    assert limit.wait_s("a") > 0.0


def test_rate_0_is_no_limit():
    limit = RateLimit(ManualClock(), per_min=0, burst=1)
    assert [limit.wait_s("k") for _ in range(1000)] == [0.0] * 1000


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 10))
def test_no_pattern_of_arrivals_beats_burst_plus_rate(pauses, burst):
    clock = ManualClock()
    limit = RateLimit(clock, per_min=60, burst=burst)
    passed = 0
    for pause in pauses:
        clock.advance(pause)
        passed += limit.wait_s("k") == 0.0
    assert passed <= burst + clock.monotonic_s() + 1e-3


async def test_a_place_in_the_queue_is_taken_in_turn_and_a_full_queue_refuses():
    limit = ConcurrencyLimit(active=1, queued=1)
    order: list[str] = []
    leave = asyncio.Event()

    async def work(name: str) -> None:
        async with limit.slot(5.0):
            order.append(name)
            await leave.wait()

    first, second = asyncio.ensure_future(work("first")), asyncio.ensure_future(work("second"))
    await asyncio.sleep(0)
    with pytest.raises(RefusedError) as caught:
        await work("third")
    assert (caught.value.status, caught.value.retry_after) == (503, "1")
    leave.set()
    await asyncio.gather(first, second)
    assert order == ["first", "second"]
    async with limit.slot(0.0):
        order.append("free again")


async def test_who_gives_up_waiting_leaves_the_queue():
    limit = ConcurrencyLimit(active=1, queued=1)
    async with limit.slot(1.0):
        waiting = asyncio.ensure_future(limit._acquire(5.0))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(RefusedError):
            await limit._acquire(0.0)
    async with limit.slot(0.0):
        pass
