"""Betting that a rate is above what was known: fair at the limit, quick well above it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.excess import e_value_above

limits = st.floats(0.001, 0.999)


@given(limits, st.integers(0, 40), st.integers(0, 10))
def test_the_mixture_is_a_martingale_at_the_limit_from_wherever_it_stands(limit, good, bad):
    now = e_value_above(good=good, bad=bad, limit=limit)
    after_good = e_value_above(good=good + 1, bad=bad, limit=limit)
    after_bad = e_value_above(good=good, bad=bad + 1, limit=limit)
    assert limit * after_bad + (1.0 - limit) * after_good == pytest.approx(now, rel=1e-6)
    assert after_good <= now <= after_bad


def first_crossing(rate, seed, *, limit=0.05, looks=500):
    chance, counts = random.Random(seed), [0, 0]
    for look in range(1, looks + 1):
        counts[chance.random() < rate] += 1
        if e_value_above(good=counts[0], bad=counts[1], limit=limit) >= 20.0:
            return look
    return None


def test_a_rate_at_the_limit_is_called_above_it_in_at_most_alpha_of_runs():
    wrong = sum(first_crossing(0.05, seed) is not None for seed in range(400))
    # alpha = 5 % of 400 is 20; 33 is its 99.7 % upper bound. None at all would mean that the test has no power.
    assert 2 <= wrong <= 33


def test_five_times_the_limit_is_seen_after_a_few_dozen():
    found = [first_crossing(0.25, seed) for seed in range(40)]
    assert all(found)
    assert sorted(found)[20] <= 60


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="limit"):
        e_value_above(good=1, bad=1, limit=1.0)
    with pytest.raises(ValueError, match="good=-1"):
        e_value_above(good=-1, bad=1, limit=0.5)
