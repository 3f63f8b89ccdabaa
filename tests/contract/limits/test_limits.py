"""What every implementation of `gateway.quota.Limits` does."""

import math
import random

import pytest
from tests.contract.limits.buckets import daily, monthly, places, requests, tokens

from shipway.gateway.quota import Excess, Measure

SLOW = 0.001
"""A rate that drains nothing while a test runs."""


async def left(limits, quota) -> dict[Measure, int]:
    return {standing.bucket.measure: standing.remaining for standing in await limits.standings(quota)}


async def test_a_burst_passes_and_the_next_waits_for_one_interval(world):
    limits = await world.open()
    quota = limits.prepared([requests("k", 3, 60.0)])
    passed = [await limits.reserve(quota, 0, 0) for _ in range(4)]
    assert [isinstance(found, Excess) for found in passed] == [False, False, False, True]
    assert passed[3].wait_s == pytest.approx(1.0, abs=1e-3)
    await world.advance(passed[3].wait_s)
    assert not isinstance(await limits.reserve(quota, 0, 0), Excess)
    assert isinstance(await limits.reserve(quota, 0, 0), Excess)


async def test_what_one_bucket_refuses_is_taken_from_none(world):
    limits = await world.open()
    wide = [requests("k", 100, SLOW), tokens("k", 1000, SLOW), places("k", 10)]
    quota = limits.prepared([*wide, daily("t", 500), monthly("t", 5)])
    before = await left(limits, quota)
    for _ in range(20):
        found = await limits.reserve(quota, 100, 6)
        assert isinstance(found, Excess)
        assert found.bucket.measure is Measure.MONTHLY_USD
    assert await left(limits, quota) == before


@pytest.mark.parametrize("refusing", range(5))
async def test_whichever_bucket_refuses_the_others_are_as_they_were(world, refusing):
    limits = await world.open()
    wide = [requests("k", 9, SLOW), tokens("k", 900, SLOW), places("k", 9), daily("t", 900), monthly("t", 900)]
    narrow = [requests("n", 1, SLOW), tokens("n", 90, SLOW), places("n", 1), daily("n", 90), monthly("n", 90)]
    quota = limits.prepared([*wide[:refusing], narrow[refusing], *wide[refusing + 1 :]])
    assert not isinstance(await limits.reserve(quota, 90, 90), Excess)
    before = await left(limits, quota)
    found = await limits.reserve(quota, 90, 90)
    assert isinstance(found, Excess)
    assert found.bucket == narrow[refusing]
    assert found.wait_s > 0.0
    assert await left(limits, quota) == before


async def test_settling_replaces_the_estimate_by_the_truth(world):
    limits = await world.open()
    quota = limits.prepared([tokens("k", 1000, SLOW), places("k", 3), daily("t", 1000), monthly("t", 2000)])
    hold = await limits.reserve(quota, 400, 300)
    assert list((await left(limits, quota)).values()) == [600, 2, 700, 1700]
    limits.settle(hold, 150, 20)
    await world.settled(limits)
    assert list((await left(limits, quota)).values()) == [850, 3, 980, 1980]


async def test_a_release_gives_back_the_request_too(world):
    limits = await world.open()
    quota = limits.prepared([requests("k", 1, SLOW), tokens("k", 100, SLOW), places("k", 1), daily("t", 100)])
    hold = await limits.reserve(quota, 100, 100)
    limits.release(hold)
    await world.settled(limits)
    again = await limits.reserve(quota, 100, 100)
    assert not isinstance(again, Excess)


async def test_a_request_released_after_its_interval_gives_nothing_back(world):
    limits = await world.open()
    quota = limits.prepared([requests("k", 1, 60.0)])
    first = await limits.reserve(quota, 0, 0)
    await world.advance(1.0)
    await limits.reserve(quota, 0, 0)
    limits.release(first)
    await world.settled(limits)
    assert isinstance(await limits.reserve(quota, 0, 0), Excess)


async def test_tokens_drain_by_the_minute(world):
    limits = await world.open()
    quota = limits.prepared([tokens("k", 600, 600.0)])
    limits.settle(await limits.reserve(quota, 600, 0), 600, 0)
    await world.settled(limits)
    found = await limits.reserve(quota, 100, 0)
    assert found.wait_s == pytest.approx(10.0, abs=1e-3)
    await world.advance(found.wait_s)
    assert not isinstance(await limits.reserve(quota, 100, 0), Excess)
    assert isinstance(await limits.reserve(quota, 1, 0), Excess)


async def test_more_tokens_than_a_bucket_holds_pass_when_it_is_full(world):
    limits = await world.open()
    quota = limits.prepared([tokens("k", 100, SLOW)])
    hold = await limits.reserve(quota, 5000, 0)
    assert not isinstance(hold, Excess)
    limits.settle(hold, 0, 0)
    await world.settled(limits)
    assert (await left(limits, quota))[Measure.TOKENS] == 100


async def test_what_is_reserved_does_not_drain_while_the_request_runs(world):
    limits = await world.open()
    quota = limits.prepared([tokens("k", 100, 600.0)])
    hold = await limits.reserve(quota, 100, 0)
    await world.advance(3600.0 if world.kind != "redis" else 100.0)
    assert isinstance(await limits.reserve(quota, 1, 0), Excess)
    limits.settle(hold, 100, 0)
    await world.settled(limits)
    assert isinstance(await limits.reserve(quota, 1, 0), Excess)


async def test_a_day_is_over_at_midnight_utc_and_a_month_with_its_last_day(world):
    limits = await world.open()
    # 2025-06-15T15:06:40Z
    quota = limits.prepared([daily("t", 100), monthly("t", 150)])
    limits.settle(await limits.reserve(quota, 0, 100), 0, 100)
    await world.settled(limits)
    found = await limits.reserve(quota, 0, 1)
    assert found.wait_s == pytest.approx(8 * 3600 + 53 * 60 + 20, abs=1.0)
    await world.advance(found.wait_s + 1.0)
    limits.settle(await limits.reserve(quota, 0, 50), 0, 50)
    await world.settled(limits)
    found = await limits.reserve(quota, 0, 1)
    assert found.bucket.measure is Measure.MONTHLY_USD
    assert found.wait_s == pytest.approx(15 * 86_400, abs=5.0)
    await world.advance(found.wait_s + 1.0)
    assert not isinstance(await limits.reserve(quota, 0, 100), Excess)


async def test_money_that_was_reserved_before_midnight_is_spent_on_the_new_day(world):
    limits = await world.open()
    quota = limits.prepared([daily("t", 100)])
    hold = await limits.reserve(quota, 0, 60)
    await world.advance(8 * 3600 + 53 * 60 + 20 if world.kind != "redis" else 200.0)
    limits.settle(hold, 0, 60)
    await world.settled(limits)
    assert isinstance(await limits.reserve(quota, 0, 41), Excess)
    assert not isinstance(await limits.reserve(quota, 0, 40), Excess)


@pytest.mark.parametrize("back_s", [1.0, 3600.0, 40 * 86_400.0])
async def test_a_clock_that_is_set_back_opens_no_gate(world, back_s):
    limits = await world.open()
    quotas = [
        limits.prepared([requests("k", 2, 60.0)]),
        limits.prepared([daily("t", 100)]),
        limits.prepared([monthly("t", 100)]),
    ]
    await world.advance(86_400.0)
    for quota in quotas:
        for _ in range(2):
            limits.settle(await limits.reserve(quota, 0, 50), 0, 50)
    await world.settled(limits)
    await world.set_back(back_s)
    for quota in quotas:
        assert isinstance(await limits.reserve(quota, 0, 1), Excess)
    await world.set_back(-back_s)
    for quota in quotas:
        assert isinstance(await limits.reserve(quota, 0, 1), Excess)


async def test_each_mark_of_a_budget_is_one_alert(world):
    limits = await world.open()
    quota = limits.prepared([daily("t", 100)])
    for _ in range(9):
        limits.settle(await limits.reserve(quota, 0, 10), 0, 10)
        await world.settled(limits)
    assert [(alert.percent, alert.spent_nano_usd) for alert in world.alerts] == [(80, 80)]
    hold = await limits.reserve(quota, 0, 10)
    limits.settle(hold, 0, 35)
    await world.settled(limits)
    for _ in range(5):
        assert isinstance(await limits.reserve(quota, 0, 1), Excess)
    assert [alert.percent for alert in world.alerts] == [80, 100, 120]


async def test_refusing_for_want_of_money_is_the_alert_at_100(world):
    limits = await world.open()
    quota = limits.prepared([daily("t", 100)])
    limits.settle(await limits.reserve(quota, 0, 70), 0, 70)
    for _ in range(5):
        assert isinstance(await limits.reserve(quota, 0, 40), Excess)
    assert [(alert.percent, alert.spent_nano_usd) for alert in world.alerts] == [(100, 70)]


async def test_a_new_day_has_its_own_alerts(world):
    limits = await world.open()
    quota = limits.prepared([daily("t", 100)])
    for _ in range(2):
        limits.settle(await limits.reserve(quota, 0, 90), 0, 90)
        await world.settled(limits)
        await world.advance(86_400.0)
    assert [alert.percent for alert in world.alerts] == [80, 80]


async def test_places_come_back_one_by_one(world):
    limits = await world.open()
    quota = limits.prepared([places("k", 2)])
    first = await limits.reserve(quota, 0, 0)
    await limits.reserve(quota, 0, 0)
    assert isinstance(await limits.reserve(quota, 0, 0), Excess)
    limits.settle(first, 0, 0)
    await world.settled(limits)
    assert not isinstance(await limits.reserve(quota, 0, 0), Excess)
    assert isinstance(await limits.reserve(quota, 0, 0), Excess)


async def test_keys_of_one_tenant_share_the_tenants_buckets_alone(world):
    limits = await world.open()
    a = limits.prepared([requests("a", 2, SLOW), daily("t", 1000)])
    b = limits.prepared([requests("b", 2, SLOW), daily("t", 1000)])
    await limits.reserve(a, 0, 600)
    assert isinstance(await limits.reserve(b, 0, 600), Excess)
    assert not isinstance(await limits.reserve(b, 0, 400), Excess)
    assert (await left(limits, a))[Measure.REQUESTS] == 1


async def test_no_pattern_of_requests_beats_a_simple_model(world):
    """Against the definition: level drains at the rate, what is reserved counts in full, neither exceeds capacity."""
    draw = random.Random(7)
    limits = await world.open()
    quota = limits.prepared([requests("k", 5, 120.0), tokens("k", 1000, 3000.0), places("k", 4), daily("t", 900_000)])
    start_s = world.clock.monotonic_s()
    used: list[tuple[float, int]] = []
    asked: list[float] = []
    holds: list[tuple[object, int, int]] = []
    spent = passed = 0
    for _ in range(300):
        await world.advance(draw.choice([0.0, 0.01, 0.25, 1.0]))
        if holds and draw.random() < 0.5:
            hold, most_tokens, most_money = holds.pop(draw.randrange(len(holds)))
            tokens_used, money = draw.randint(0, most_tokens), draw.randint(0, most_money)
            limits.settle(hold, tokens_used, money)
            await world.settled(limits)
            used.append((world.clock.monotonic_s(), tokens_used))
            spent += money
            continue
        wanted = draw.randint(0, 400), draw.randint(0, 20_000)
        found = await limits.reserve(quota, *wanted)
        if not isinstance(found, Excess):
            passed += 1
            asked.append(world.clock.monotonic_s())
            holds.append((found, *wanted))
        assert len(holds) <= 4
        assert spent + sum(money for _, _, money in holds) <= 900_000
        assert _level(used, 50.0, world.clock.monotonic_s()) + sum(most for _, most, _ in holds) <= 1000 + 1
        assert passed <= 5 + math.ceil((world.clock.monotonic_s() - start_s) * 2)
    assert passed > 20


def _level(charges: list[tuple[float, int]], per_s: float, now_s: float) -> float:
    level, at_s = 0.0, 0.0
    for when_s, amount in charges:
        level = max(0.0, level - (when_s - at_s) * per_s) + amount
        at_s = when_s
    return max(0.0, level - (now_s - at_s) * per_s)


async def test_a_reset_is_seen_by_all_and_leaves_what_runs(world):
    if world.kind == "memory":
        pytest.skip("a single process has nobody who would reset from outside")
    one, other = await world.open(), await world.open()
    buckets = [requests("k", 9, SLOW), tokens("k", 900, SLOW), places("k", 9), daily("t", 900), monthly("t", 900)]
    quota, others = one.prepared(buckets), other.prepared(buckets)
    for _ in range(2):
        one.settle(await one.reserve(quota, 300, 300), 300, 300)
    hold = await one.reserve(quota, 100, 100)
    await world.settled(one)
    assert [alert.percent for alert in world.alerts] == []

    await other.reset([bucket for bucket in buckets if bucket.measure is not Measure.MONTHLY_USD])

    expected = {Measure.REQUESTS: 9, Measure.TOKENS: 800, Measure.PLACES: 8, Measure.DAILY_USD: 800}
    assert await left(one, quota) == {**expected, Measure.MONTHLY_USD: 200}
    one.settle(hold, 50, 50)
    await world.settled(one)
    assert (await left(other, others))[Measure.DAILY_USD] == 850
    assert (await left(other, others))[Measure.TOKENS] == 850


async def test_after_a_reset_a_budget_gives_its_alerts_again(world):
    if world.kind == "memory":
        pytest.skip("a single process has nobody who would reset from outside")
    limits = await world.open()
    quota = limits.prepared([daily("t", 100)])
    for _ in range(2):
        limits.settle(await limits.reserve(quota, 0, 90), 0, 90)
        await world.settled(limits)
        await limits.reset([daily("t", 100)])

    assert [alert.percent for alert in world.alerts] == [80, 80]
