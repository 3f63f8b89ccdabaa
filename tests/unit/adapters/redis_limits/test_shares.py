"""Budgets while Redis is gone, as rules without Redis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("redis")

from shipway.adapters.redis_limits.shares import BudgetShares
from shipway.core.clock import ManualClock
from shipway.gateway.quota import Bucket, BudgetAlert, Excess, LimitsLostError, Measure

DAY_S = 86_400.0
BUDGET = Bucket("t/daily_usd", "tenant", Measure.DAILY_USD, 1000)
MONTHLY = Bucket("t/monthly_usd", "tenant", Measure.MONTHLY_USD, 5000)


def shares(share: float = 1.0) -> tuple[BudgetShares, ManualClock, list[BudgetAlert]]:
    clock, alerts = ManualClock(), []
    return BudgetShares(clock, share, alerts.append), clock, alerts


@given(
    workers=st.integers(1, 9),
    used=st.integers(0, 1500),
    asked=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 400), st.integers(0, 400)), max_size=60),
)
def test_workers_that_knew_the_same_never_spend_more_than_was_left(workers, used, asked):
    them = [shares(1 / workers)[0] for _ in range(workers)]
    for worker in them:
        worker.learn(BUDGET, used)
    spent = 0
    for number, held, really in asked:
        worker = them[number % workers]
        if worker.take([BUDGET], held) is None:
            worker.give_back([BUDGET], held, min(held, really))
            spent += min(held, really)

    assert spent <= max(0, 1000 - used)


def test_money_is_taken_from_all_budgets_or_from_none():
    worker, _, _ = shares()
    worker.learn(MONTHLY, 0)
    worker.learn(BUDGET, 900)

    assert isinstance(worker.take([MONTHLY, BUDGET], 200), Excess)
    assert worker.take([MONTHLY], 5000) is None
    with pytest.raises(LimitsLostError):
        worker.take([BUDGET, Bucket("other", "key", Measure.DAILY_USD, 10)], 1)
    assert worker.take([BUDGET], 100) is None


def test_a_new_day_begins_with_nothing_spent_and_a_month_goes_on():
    worker, clock, _ = shares(0.5)
    worker.learn(BUDGET, 1000)
    worker.learn(MONTHLY, 4000)
    assert isinstance(worker.take([BUDGET], 1), Excess)

    clock.advance(DAY_S)

    assert worker.take([BUDGET, MONTHLY], 500) is None
    assert isinstance(worker.take([BUDGET], 1), Excess)
    assert isinstance(worker.take([MONTHLY], 1), Excess)


def test_what_redis_has_counted_is_not_counted_here_too():
    worker, _, _ = shares()
    worker.learn(BUDGET, 0)
    assert worker.take([BUDGET], 600) is None
    worker.give_back([BUDGET], 600, 600)
    assert isinstance(worker.take([BUDGET], 401), Excess)

    worker.counted([BUDGET], 600)
    assert isinstance(worker.take([BUDGET], 401), Excess)
    worker.learn(BUDGET, 600)

    assert worker.take([BUDGET], 400) is None


def test_a_share_that_is_used_up_is_told_once():
    worker, _, alerts = shares(0.1)
    worker.learn(BUDGET, 0)
    assert [worker.take([BUDGET], 101) is None for _ in range(3)] == [False] * 3

    assert [(alert.percent, alert.bucket.capacity) for alert in alerts] == [(100, 100)]
