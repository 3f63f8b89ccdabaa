"""The arithmetic under the e-processes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.mixtures import bet, candidate_share, log_factor, mixture_value, uniform_log_weights

WEIGHTS = st.floats(0.001, 0.999)
RATIOS = st.floats(0.05, 50.0)


@given(RATIOS, RATIOS, WEIGHTS)
def test_the_factor_is_the_ratio_of_bernoulli_likelihoods(ratio, null, weight):
    bet_on, tested = candidate_share(ratio, weight), candidate_share(null, weight)
    assert log_factor(ratio, null, weight, (1, 0)) == pytest.approx(math.log(bet_on / tested), abs=1e-9)
    assert log_factor(ratio, null, weight, (0, 1)) == pytest.approx(math.log((1 - bet_on) / (1 - tested)), abs=1e-9)


@given(RATIOS, RATIOS, WEIGHTS)
def test_the_expected_factor_under_the_null_is_one(ratio, null, weight):
    share = candidate_share(null, weight)
    candidate = math.exp(log_factor(ratio, null, weight, (1, 0)))
    stable = math.exp(log_factor(ratio, null, weight, (0, 1)))
    assert share * candidate + (1.0 - share) * stable == pytest.approx(1.0, rel=1e-9)


@given(st.integers(0, 40), st.integers(0, 40), WEIGHTS)
def test_a_batch_equals_its_observations_one_by_one(candidates, stable, weight):
    ratios = (0.5, 2.0)
    one_by_one = uniform_log_weights(2)
    for counts in [(1, 0)] * candidates + [(0, 1)] * stable:
        one_by_one = bet(one_by_one, ratios, 1.0, weight, counts)
    batch = bet(uniform_log_weights(2), ratios, 1.0, weight, (candidates, stable))
    assert batch == pytest.approx(one_by_one, abs=1e-9)


@given(st.lists(st.floats(-500.0, 500.0), min_size=1, max_size=6))
def test_the_mixture_is_the_sum_of_its_weights(log_weights):
    assert mixture_value(tuple(log_weights)) == pytest.approx(math.fsum(map(math.exp, log_weights)), rel=1e-9)


def test_a_mixture_beyond_the_range_of_floats_is_cut_off_and_one_below_it_is_zero():
    assert mixture_value((5000.0, 0.0)) == math.exp(700.0)
    assert mixture_value((-5000.0, -6000.0)) == 0.0
