"""Sample-ratio mismatch, at one look and at every look."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shipway.stats.sample_ratio import (
    SampleRatioState,
    sample_ratio_e_value,
    sample_ratio_p_value,
    update_sample_ratio,
)

WEIGHTS = st.floats(0.01, 0.99)
BATCHES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), WEIGHTS), max_size=10)


def state_after(batches):
    state = SampleRatioState()
    for candidates, stable, weight in batches:
        state = update_sample_ratio(state, candidates=candidates, stable=stable, candidate_weight=weight)
    return state


@given(BATCHES, WEIGHTS)
def test_under_the_configured_weight_the_expected_evidence_stays_what_it_is(batches, weight):
    state = state_after(batches)
    candidate = update_sample_ratio(state, candidates=1, stable=0, candidate_weight=weight)
    stable = update_sample_ratio(state, candidates=0, stable=1, candidate_weight=weight)
    expected = weight * sample_ratio_e_value(candidate) + (1 - weight) * sample_ratio_e_value(stable)
    assert expected == pytest.approx(sample_ratio_e_value(state), rel=1e-9)


def test_a_correct_split_is_accused_at_most_alpha_of_the_time_though_looked_at_a_hundred_times():
    rng = np.random.default_rng(11)
    runs, alpha = 200, 0.05
    accused = 0
    for _ in range(runs):
        state = SampleRatioState()
        for look in range(100):
            weight = 0.1 if look < 50 else 0.5
            candidates = int(rng.binomial(40, weight))
            state = update_sample_ratio(state, candidates=candidates, stable=40 - candidates, candidate_weight=weight)
            if sample_ratio_e_value(state) >= 1 / alpha:
                accused += 1
                break
    assert accused <= runs * (alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs))


@pytest.mark.parametrize("actual", [0.08, 0.12])
def test_a_split_of_8_or_12_percent_instead_of_10_is_noticed_within_10000_conversations(actual):
    candidates = round(10_000 * actual)
    state = state_after([(candidates, 10_000 - candidates, 0.1)])
    assert sample_ratio_e_value(state) > 1000
    assert sample_ratio_p_value(candidates, weight_sum=1000.0, variance_sum=900.0) < 1e-6


def test_an_exact_split_leaves_no_suspicion():
    assert sample_ratio_e_value(state_after([(1000, 9000, 0.1)])) < 1.0
    assert sample_ratio_p_value(1000, weight_sum=1000.0, variance_sum=900.0) == 1.0


def test_conversations_at_weight_zero_or_one_change_nothing():
    state = state_after([(3, 4, 0.5)])
    assert update_sample_ratio(state, candidates=9, stable=0, candidate_weight=1.0) is state
    assert update_sample_ratio(state, candidates=0, stable=9, candidate_weight=0.0) is state


@given(BATCHES)
def test_a_stored_state_reads_back_equal(batches):
    state = state_after(batches)
    assert SampleRatioState.from_dict(json.loads(json.dumps(state.to_dict()))) == state


@pytest.mark.parametrize(
    ("key", "value"),
    [("log_weights", [0.0]), ("odds_ratios", [-1.0] * 8), ("candidates", None), ("stable", True)],
)
def test_a_damaged_stored_state_is_refused(key, value):
    with pytest.raises(ValueError, match="state"):
        SampleRatioState.from_dict(SampleRatioState().to_dict() | {key: value})


@given(st.integers(400, 5000), st.floats(0.2, 0.8), st.floats(-3.0, 3.0))
def test_the_p_value_is_close_to_the_exact_binomial_one(n, weight, z):
    count = round(n * weight + z * math.sqrt(n * weight * (1 - weight)))
    exact = stats.binom(n, weight)
    tail = min(exact.cdf(count), exact.sf(count - 1))
    p_value = sample_ratio_p_value(count, weight_sum=n * weight, variance_sum=n * weight * (1 - weight))
    assert p_value == pytest.approx(min(1.0, 2 * tail), abs=0.02)


def test_without_chance_the_count_must_equal_its_expectation():
    assert sample_ratio_p_value(7, weight_sum=7.0, variance_sum=0.0) == 1.0
    assert sample_ratio_p_value(6, weight_sum=7.0, variance_sum=0.0) == 0.0


@pytest.mark.parametrize(
    ("count", "weight_sum", "variance_sum"), [(-1, 1.0, 0.5), (1, 1.0, 2.0), (1, math.nan, 0.5), (1, 1.0, -0.5)]
)
def test_impossible_sums_are_refused(count, weight_sum, variance_sum):
    with pytest.raises(ValueError, match=r"candidates must|variance_sum"):
        sample_ratio_p_value(count, weight_sum=weight_sum, variance_sum=variance_sum)
    with pytest.raises(ValueError, match="must"):
        update_sample_ratio(SampleRatioState(), candidates=-1, stable=0, candidate_weight=0.5)
