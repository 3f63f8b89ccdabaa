"""Bounds of a rate without a table: never tighter than the exact ones, and not far from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from shipway.stats.chernoff import divergence, rate_upper, surely_differs
from shipway.stats.proportions import clopper_pearson_upper

rates = st.floats(0.001, 0.999)


@given(st.floats(0.0, 1.0), rates)
def test_the_divergence_is_that_of_scipy(rate, other):
    expected = float(scipy_stats.entropy([rate, 1.0 - rate], [other, 1.0 - other]))
    assert divergence(rate, other) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 2000), st.data())
def test_the_upper_bound_is_at_or_above_the_exact_one(n, data):
    successes = data.draw(st.integers(0, n))
    upper = rate_upper(successes, n, alpha=0.01)
    assert clopper_pearson_upper(successes, n, 0.01) - 1e-9 <= upper <= 1.0


def test_the_upper_bound_is_close_to_the_exact_one():
    assert rate_upper(20, 1000, alpha=0.01) == pytest.approx(clopper_pearson_upper(20, 1000, 0.01), rel=0.15)
    assert rate_upper(0, 0, alpha=0.01) == 1.0


@given(st.integers(1, 400), rates, st.data())
def test_what_is_surely_different_is_so_by_the_exact_test_too(n, limit, data):
    successes = data.draw(st.integers(0, n))
    if surely_differs(successes / n, n, limit, alpha=0.001):
        above = successes > n * limit
        exact = scipy_stats.binomtest(successes, n, limit, alternative="greater" if above else "less").pvalue
        assert exact <= 0.001 + 1e-9


def test_a_hundred_samples_need_fifteen_failures_to_be_surely_over_five_percent():
    assert not surely_differs(0.14, 100, 0.05, alpha=0.001)
    assert surely_differs(0.15, 100, 0.05, alpha=0.001)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="limit"):
        surely_differs(0.5, 1, 0.0, alpha=0.01)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        surely_differs(1.5, 1, 0.5, alpha=0.01)
    with pytest.raises(ValueError, match="successes"):
        rate_upper(3, 2, alpha=0.01)
