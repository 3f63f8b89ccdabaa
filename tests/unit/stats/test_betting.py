"""Bets on paired differences: fair at the edge of each null, whatever the differences are."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.betting import PairState, add_pair, bets, pair_e_harm, pair_e_no_harm, pairs_needed

START = PairState(harm=0.02, margin=0.05)
differences = st.floats(-1.0, 1.0)


def after(values, start=START):
    state = start
    for value in values:
        state = add_pair(state, value)
    return state


@given(st.lists(differences, max_size=30), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_one_pair_multiplies_by_one_in_expectation_at_the_edge_of_each_null(past, low, high):
    state = after(past)
    # Two points around the edge with the chances that make it the mean.
    for edge, value in ((-state.harm, pair_e_harm), (-state.margin, pair_e_no_harm)):
        below, above = min(low, edge), max(high, edge)
        if above - below < 1e-6:
            continue
        chance = (edge - below) / (above - below)
        mean = chance * value(add_pair(state, above)) + (1.0 - chance) * value(add_pair(state, below))
        assert mean == pytest.approx(value(state), rel=1e-6)


@given(st.lists(differences, max_size=50))
def test_no_pair_ever_takes_more_than_half_of_the_evidence(values):
    state = after(values)
    harm, no_harm = bets(state)
    assert 0.0 <= harm * (1.0 + state.harm) <= 0.5 + 1e-12
    assert 0.0 <= no_harm * (1.0 - state.margin) <= 0.5 + 1e-12


@given(st.lists(differences, max_size=20), st.integers(0, 20))
def test_a_stored_state_goes_on_as_if_it_had_not_been_stored(values, cut):
    first = PairState.from_dict(after(values[:cut]).to_dict())
    assert after(values[cut:], start=first) == after(values)


@pytest.mark.parametrize("value", [float("nan"), 1.01, -2.0])
def test_what_is_no_difference_of_utilities_is_refused(value):
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        add_pair(START, value)


def test_margins_that_are_no_drop_are_refused():
    with pytest.raises(ValueError, match="harm"):
        PairState(harm=-0.1, margin=0.05)
    with pytest.raises(ValueError, match="margin"):
        PairState(harm=0.1, margin=0.0)
    with pytest.raises(ValueError, match="count"):
        PairState.from_dict({**START.to_dict(), "count": 0.5})


def pairs_until(drop, seed, *, value, threshold=100.0, most=1500):
    """Draw pairs of which a tenth changes for the better and `drop` more for the worse; return when `value` decides."""
    chance, state = random.Random(seed), START
    for count in range(1, most + 1):
        drawn = chance.random()
        state = add_pair(state, 1.0 if drawn < 0.1 else -1.0 if drawn < 0.2 + drop else 0.0)
        if value(state) >= threshold:
            return count
    return None


def test_a_drop_of_just_the_margin_is_called_harm_in_at_most_alpha_of_runs():
    wrong = sum(pairs_until(0.02, seed, value=pair_e_harm, threshold=20.0, most=500) is not None for seed in range(300))
    # alpha = 5 % of 300 is 15; 27 is its 99.7 % upper bound. None at all would mean that the test has no power.
    assert 1 <= wrong <= 27


def test_a_drop_of_just_the_other_margin_is_called_harmless_in_at_most_alpha_of_runs():
    wrong = [pairs_until(0.05, seed, value=pair_e_no_harm, threshold=20.0, most=500) for seed in range(300)]
    assert 1 <= sum(count is not None for count in wrong) <= 27


def test_a_drop_of_a_fifth_is_seen_after_some_hundred_pairs_and_equality_after_more():
    drops = [pairs_until(0.2, seed, value=pair_e_harm) for seed in range(30)]
    assert all(drops)
    assert 30 <= sorted(drops)[15] <= 200
    equal = [pairs_until(0.0, seed, value=pair_e_no_harm, threshold=20.0, most=4000) for seed in range(10)]
    assert sum(count is not None for count in equal) >= 8


@given(st.floats(0.004, 0.5), st.floats(0.001, 0.5))
def test_the_estimate_of_pairs_is_where_pairs_without_a_difference_get_to(margin, alpha):
    state = PairState(harm=0.0, margin=margin)
    needed = pairs_needed(margin, alpha)
    before = after([0.0] * (needed - 1), state)
    assert pair_e_no_harm(before) < 1.0 / alpha <= pair_e_no_harm(add_pair(before, 0.0)) * (1.0 + 1e-9)


def test_a_margin_so_small_that_it_takes_millions_of_pairs_is_estimated_without_counting_them():
    assert pairs_needed(1e-6, 0.05) == pytest.approx(1.9e7, rel=0.1)
    assert pairs_needed(1e-300, 0.05) > 10**12
