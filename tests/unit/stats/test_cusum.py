"""The watch without end: rare false alarms, quick true ones."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.cusum import CusumState, add_conversation, alarmed, begin, threshold, turn_bad


def start(base=0.02, ratios=(2.0, 5.0)):
    return CusumState.start(base, ratios)


@given(st.lists(st.booleans(), max_size=60), st.floats(0.001, 0.5))
def test_the_sums_are_the_largest_log_likelihood_ratio_of_any_change_point(outcomes, base):
    state = start(base)
    for bad in outcomes:
        state = add_conversation(state, bad=bad)
    for rate, total in zip(state.rates, state.sums, strict=True):
        largest = 0.0
        for change in range(len(outcomes)):
            bad = sum(outcomes[change:])
            good = len(outcomes) - change - bad
            # A bad conversation counts by its rate alone, as the sums do.
            largest = max(largest, bad * math.log(rate / base) + good * math.log((1 - rate) / (1 - base)))
        assert total == pytest.approx(largest, abs=1e-9)


@given(st.integers(0, 20))
def test_a_conversation_that_turns_bad_later_adds_no_more_than_one_that_was_bad_at_once(before):
    state = start()
    for _ in range(before):
        state = add_conversation(state, bad=True)
    later = turn_bad(begin(state))
    at_once = add_conversation(state, bad=True)
    assert all(a <= b for a, b in zip(later.sums, at_once.sums, strict=True))


def test_a_stored_watch_goes_on_and_a_damaged_one_is_refused():
    state = add_conversation(start(), bad=True)
    assert CusumState.from_dict(state.to_dict()) == state
    with pytest.raises(ValueError, match="sums"):
        CusumState.from_dict({**state.to_dict(), "sums": "no"})
    with pytest.raises(ValueError, match="one sum"):
        CusumState(0.1, (0.2,), ())
    with pytest.raises(ValueError, match="between base_rate"):
        CusumState.start(0.1, (1.0,))
    with pytest.raises(ValueError, match="base_rate"):
        CusumState.start(0.0, (2.0,))
    with pytest.raises(ValueError, match="mean_run"):
        threshold(state, 1.0)


def test_alternatives_stay_rates():
    assert start(0.5, (1.5, 3.0, 10.0)).rates == (0.75, 0.99)


def run_length(rate, seed, *, mean_run, most):
    chance, state = random.Random(seed), start()
    for count in range(1, most + 1):
        state = add_conversation(state, bad=chance.random() < rate)
        if alarmed(state, mean_run):
            return count
    return most


def test_false_alarms_are_at_least_the_mean_run_apart():
    lengths = [run_length(0.02, seed, mean_run=200.0, most=4_000) for seed in range(60)]
    assert sum(lengths) / len(lengths) >= 200.0


def test_five_times_the_rate_alarms_after_a_hundred_or_two():
    lengths = [run_length(0.1, seed, mean_run=10_000.0, most=5_000) for seed in range(60)]
    assert 30 <= sorted(lengths)[30] <= 200
    assert max(lengths) < 1000
