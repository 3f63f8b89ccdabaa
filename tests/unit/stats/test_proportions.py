"""Bounds of rates and means, and the sample sizes that decide."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shipway.stats.proportions import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    mean_lower_bound,
    mean_upper_bound,
    n_for_lower_bound,
    n_for_zero_failures,
    wilson_interval,
    zero_failures_upper,
)

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ALPHAS = st.floats(0.001, 0.3)


@given(COUNTS, ALPHAS)
def test_one_sided_bounds_agree_with_scipys_exact_binomial_intervals(counts, alpha):
    successes, n = counts
    greater = stats.binomtest(successes, n, alternative="greater").proportion_ci(1.0 - alpha, method="exact")
    less = stats.binomtest(successes, n, alternative="less").proportion_ci(1.0 - alpha, method="exact")
    assert clopper_pearson_lower(successes, n, alpha) == pytest.approx(greater.low, abs=1e-9)
    assert clopper_pearson_upper(successes, n, alpha) == pytest.approx(less.high, abs=1e-9)


@given(COUNTS, st.floats(0.5, 0.999))
def test_the_wilson_interval_agrees_with_scipys(counts, confidence):
    successes, n = counts
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(COUNTS, ALPHAS)
def test_bounds_enclose_the_observed_rate_and_rise_with_the_successes(counts, alpha):
    successes, n = counts
    assert clopper_pearson_lower(successes, n, alpha) <= successes / n <= clopper_pearson_upper(successes, n, alpha)
    if successes < n:
        assert clopper_pearson_lower(successes, n, alpha) < clopper_pearson_lower(successes + 1, n, alpha)
        assert clopper_pearson_upper(successes, n, alpha) < clopper_pearson_upper(successes + 1, n, alpha)


@given(COUNTS, ALPHAS)
def test_at_its_lower_bound_a_rate_gives_the_observation_or_more_with_probability_alpha(counts, alpha):
    successes, n = counts
    if successes:
        bound = clopper_pearson_lower(successes, n, alpha)
        assert stats.binom.sf(successes - 1, n, bound) == pytest.approx(alpha, rel=1e-6)


def test_the_lower_bound_is_wrong_at_most_alpha_of_the_time_whatever_the_rate():
    n, alpha = 40, 0.05
    for rate in (0.05, 0.5, 0.83, 0.9, 0.99):
        wrong = sum(
            stats.binom.pmf(successes, n, rate)
            for successes in range(n + 1)
            if clopper_pearson_lower(successes, n, alpha) > rate
        )
        assert wrong <= alpha


@given(st.integers(1, 5000), ALPHAS)
def test_the_zero_failure_bound_is_the_exact_upper_bound_at_no_failures(n, alpha):
    assert zero_failures_upper(n, alpha) == pytest.approx(clopper_pearson_upper(0, n, alpha), rel=1e-9)


def test_299_clean_attempts_prove_less_than_one_percent():
    assert n_for_zero_failures(0.01, 0.05) == 299
    assert zero_failures_upper(299, 0.05) < 0.01 < zero_failures_upper(298, 0.05)


@given(st.floats(1e-5, 0.99), ALPHAS)
def test_the_number_of_clean_attempts_is_the_smallest_that_proves_the_rate(rate, alpha):
    n = n_for_zero_failures(rate, alpha)
    assert zero_failures_upper(n, alpha) <= rate
    assert n == 1 or zero_failures_upper(n - 1, alpha) > rate


@given(st.integers(1, 50), st.floats(0.01, 0.3))
def test_a_rate_that_is_itself_a_zero_failure_bound_needs_that_many_attempts(n, alpha):
    rate = zero_failures_upper(n, alpha)
    assert n_for_zero_failures(rate, alpha) == n


@given(st.integers(0, 20), st.integers(0, 99), ALPHAS)
def test_the_sample_size_for_a_threshold_is_the_first_one_that_a_linear_search_finds(twentieths, percent, alpha):
    p_hat, threshold = twentieths / 20, percent / 100
    found = n_for_lower_bound(p_hat, threshold, alpha)
    if p_hat <= threshold:
        assert found is None
        return
    searched = range(1, 300)
    reaching = (n for n in searched if clopper_pearson_lower((twentieths * n) // 20, n, alpha) >= threshold)
    first = next(reaching, None)
    assert found is not None
    assert found == first or (first is None and found > searched[-1])


def test_an_observed_rate_at_or_below_the_threshold_has_no_deciding_sample_size():
    assert n_for_lower_bound(0.9, 0.9, 0.05) is None
    assert n_for_lower_bound(0.8, 0.9, 0.05) is None


def test_a_rate_too_close_to_the_threshold_has_no_practical_sample_size():
    assert n_for_lower_bound(0.9 + 1e-9, 0.9, 0.05) is None


def test_a_rate_that_was_a_ratio_of_counts_keeps_its_whole_successes_despite_rounding():
    assert math.floor(0.29 * 100) == 28
    assert n_for_lower_bound(0.29, clopper_pearson_lower(29, 100, 0.05), 0.05) == 100


def test_a_rare_rate_is_searched_success_by_success():
    n = n_for_lower_bound(1e-4, 1e-5, 0.05)
    assert n is not None
    successes = n // 10_000
    assert clopper_pearson_lower(successes, n, 0.05) >= 1e-5
    assert clopper_pearson_lower(successes - 1, n - 1, 0.05) < 1e-5


def test_perfect_scores_need_59_cases_to_show_95_percent():
    assert n_for_lower_bound(1.0, 0.95, 0.05) == 59
    assert clopper_pearson_lower(59, 59, 0.05) >= 0.95 > clopper_pearson_lower(58, 58, 0.05)


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=40), st.floats(0.01, 0.4))
def test_mean_bounds_enclose_the_mean_and_agree_with_the_t_interval_when_cases_are_independent(scores, alpha):
    clusters = [f"doc{i}" for i in range(len(scores))]
    low, high = mean_lower_bound(scores, clusters, alpha), mean_upper_bound(scores, clusters, alpha)
    mean = sum(scores) / len(scores)
    half_width = stats.t.ppf(1 - alpha, len(scores) - 1) * np.std(scores, ddof=1) / math.sqrt(len(scores))
    assert (low, high) == (
        pytest.approx(mean - half_width, abs=1e-9),
        pytest.approx(mean + half_width, abs=1e-9),
    )


def test_one_cluster_bounds_nothing():
    assert mean_lower_bound([0.9, 0.95], ["a", "a"], 0.05) == -math.inf
    assert mean_upper_bound([0.9, 0.95], ["a", "a"], 0.05) == math.inf


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(successes, n):
    for bound in (clopper_pearson_lower, clopper_pearson_upper, wilson_interval):
        with pytest.raises(ValueError, match="must"):
            bound(successes, n, 0.05)


@pytest.mark.parametrize(("p_hat", "threshold"), [(1.5, 0.5), (0.5, -0.1), (math.nan, 0.5)])
def test_rates_outside_zero_to_one_are_refused(p_hat, threshold):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        n_for_lower_bound(p_hat, threshold, 0.05)
