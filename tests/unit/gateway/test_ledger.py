"""The counting against the definitions of what it counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.limits.buckets import daily, monthly, places, requests, tokens

from shipway.adapters.memory.limits import MemoryLimits
from shipway.core.clock import ManualClock
from shipway.gateway.quota import Bucket, Excess, Measure

STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 20.0),
        st.sampled_from(["reserve", "reserve", "settle", "release"]),
        st.integers(0, 300),
        st.integers(0, 300),
        st.floats(0.0, 1.0),
    ),
    max_size=80,
)


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 10))
def test_a_rate_is_a_leaky_bucket_and_refuses_no_sooner_and_no_later(pauses, burst):
    clock = ManualClock()
    limits = MemoryLimits(clock)
    quota = limits.prepared([requests("k", burst, 60.0)])
    level, at_s = 0.0, 0.0
    for pause in pauses:
        clock.advance(pause)
        level = max(0.0, level - (clock.monotonic_s() - at_s))
        at_s = clock.monotonic_s()
        found = limits.reserve_now(quota, 0, 0)
        if isinstance(found, Excess):
            assert level + 1.0 > burst - 1e-3
            assert abs(found.wait_s - (level + 1.0 - burst)) < 1e-3
        else:
            assert level + 1.0 <= burst + 1e-3
            level += 1.0


def test_a_closed_ledger_counts_nothing_any_more():
    limits = MemoryLimits(ManualClock())
    quota = limits.prepared([places("k", 3)])
    hold = limits.reserve_now(quota, 0, 0)
    limits._ledger.close()

    with pytest.raises(IndexError):
        limits.reserve_now(quota, 0, 0)
    with pytest.raises(IndexError):
        limits.settle(hold, 0, 0)


@given(STEPS)
def test_no_history_exceeds_a_limit_and_when_all_is_settled_nothing_is_reserved(steps):
    clock = ManualClock()
    limits = MemoryLimits(clock)
    buckets = [requests("k", 6, 60.0), tokens("k", 1000, 600.0), places("k", 3), daily("t", 2000), monthly("t", 5000)]
    quota = limits.prepared(buckets)
    holds: list[tuple[tuple, int]] = []
    spent = 0
    for pause, action, amount, money, share in steps:
        clock.advance(pause)
        if action == "reserve":
            found = limits.reserve_now(quota, amount, money)
            if not isinstance(found, Excess):
                holds.append((found, money))
        elif holds:
            hold, most = holds.pop()
            if action == "release":
                limits.release(hold)
                continue
            limits.settle(hold, amount, int(most * share))
            spent += int(most * share)
        assert len(holds) <= 3
        assert spent + sum(most for _, most in holds) <= 5000
    for hold, most in holds:
        limits.settle(hold, 0, most)
        spent += most
    ledger = limits._ledger
    assert all(ledger._cells[row[1]] == 0.0 and ledger._cells[row[2]] == 0.0 for row in (*quota.tokens, *quota.money))
    assert all(ledger._cells[row[0]] == 0.0 for row in quota.places)
    month = next(item for item in ledger.standings(quota) if item.bucket.measure is Measure.MONTHLY_USD)
    assert month.remaining == 5000 - spent


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90)), max_size=60), st.integers(2, 4))
def test_a_refused_request_leaves_every_cell_as_it_was(before, narrow):
    clock = ManualClock()
    limits = MemoryLimits(clock, slots=64)
    wide = [
        requests("k", 10**6, 1.0),
        tokens("k", 10**6, 1.0),
        places("k", 10**6),
        daily("t", 10**6),
        monthly("t", 10**6),
    ]
    quota = limits.prepared(wide)
    for pause, amount in before:
        clock.advance(float(pause))
        limits.reserve_now(quota, amount, amount)
    shut = Bucket("acme/shut", "key", wide[narrow].measure, 0, 1e-9)
    refusing = limits.prepared([*wide, shut])
    cells = list(limits._ledger._cells)
    level_s = [max(0.0, cells[row[0]] - clock.monotonic_s()) for row in quota.requests]
    found = limits.reserve_now(refusing, 5, 5)
    assert isinstance(found, Excess)
    after = list(limits._ledger._cells)
    rates = {row[0] for row in quota.requests}
    assert all(
        after[index] == value
        for index, value in enumerate(cells)
        if index not in rates and index not in _alerts(limits)
    )
    now_level_s = [max(0.0, after[row[0]] - clock.monotonic_s()) for row in quota.requests]
    assert all(abs(one - two) < 1e-6 for one, two in zip(level_s, now_level_s, strict=True))


def _alerts(limits: MemoryLimits) -> range:
    slots = limits._ledger._slots
    return range(3 * slots, 4 * slots)
