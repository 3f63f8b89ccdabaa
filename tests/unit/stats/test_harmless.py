"""Betting that few conversations are bad: exact under the null, quick where nothing is ever bad."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.harmless import FRACTIONS, SHARES, e_value_harmless, harmless_conversations_needed, multiplier

limits = st.floats(0.001, 0.999)


@given(limits, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_one_conversation_multiplies_by_one_in_expectation_at_the_limit_and_by_no_more_above(limit, fraction, above):
    rate = fraction * limit
    good, bad = multiplier(rate, limit, bad=False), multiplier(rate, limit, bad=True)
    assert limit * bad + (1.0 - limit) * good == pytest.approx(1.0)
    true = limit + above * (1.0 - limit)
    assert true * bad + (1.0 - true) * good <= 1.0 + 1e-9


@given(limits, st.integers(0, 40), st.integers(0, 10))
def test_the_mixture_is_a_martingale_at_the_limit_from_wherever_it_stands(limit, good, bad):
    now = e_value_harmless(good=good, bad=bad, limit=limit)
    after_good = e_value_harmless(good=good + 1, bad=bad, limit=limit)
    after_bad = e_value_harmless(good=good, bad=bad + 1, limit=limit)
    assert limit * after_bad + (1.0 - limit) * after_good == pytest.approx(now, rel=1e-6)


def test_the_mixture_starts_at_one():
    assert sum(SHARES) == pytest.approx(1.0)
    assert all(0.0 <= fraction < 1.0 for fraction in FRACTIONS)
    assert e_value_harmless(good=0, bad=0, limit=0.05) == pytest.approx(1.0)


def first_crossing(rate, seed, *, threshold=20.0, looks=400, limit=0.05):
    chance, counts = random.Random(seed), [0, 0]
    for look in range(1, looks + 1):
        counts[chance.random() < rate] += 1
        if e_value_harmless(good=counts[0], bad=counts[1], limit=limit) >= threshold:
            return look
    return None


def test_a_candidate_at_the_limit_is_called_harmless_in_at_most_alpha_of_runs_though_each_conversation_is_a_look():
    wrong = sum(first_crossing(0.05, seed) is not None for seed in range(400))
    # alpha = 5 % of 400 is 20; 33 is its 99.7 % upper bound. None at all would mean that the test has no power.
    assert 4 <= wrong <= 33


def test_a_rate_well_below_the_limit_is_soon_shown():
    assert sum(first_crossing(0.005, seed) is not None for seed in range(50)) >= 45


def test_without_a_bad_conversation_the_number_needed_is_the_first_that_reaches_the_threshold():
    needed = harmless_conversations_needed(0.05, 39.0)
    assert needed == 79
    assert e_value_harmless(good=79, bad=0, limit=0.05) >= 39.0 > e_value_harmless(good=78, bad=0, limit=0.05)


def test_bad_conversations_lengthen_the_way_and_at_the_limit_there_is_none():
    one, two = (harmless_conversations_needed(0.05, 39.0, bad_rate=rate) for rate in (0.01, 0.02))
    assert 79 < one < two < 1000
    assert harmless_conversations_needed(0.05, 39.0, bad_rate=0.05) is None


@pytest.mark.parametrize("limit", [0.0, 1.0, float("nan")])
def test_a_limit_that_is_no_share_is_refused(limit):
    with pytest.raises(ValueError, match="limit must lie strictly between 0 and 1"):
        e_value_harmless(good=1, bad=0, limit=limit)
    with pytest.raises(ValueError, match="limit must lie strictly between 0 and 1"):
        harmless_conversations_needed(limit, 20.0)


def test_negative_counts_and_impossible_rates_are_refused():
    with pytest.raises(ValueError, match="good=-1"):
        e_value_harmless(good=-1, bad=0, limit=0.05)
    with pytest.raises(ValueError, match="bad_rate must lie between 0 and 1"):
        harmless_conversations_needed(0.05, 20.0, bad_rate=1.5)
