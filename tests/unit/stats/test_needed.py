import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.clusters import clustered_mean
from shipway.stats.needed import (
    MOST_REPEATS,
    VarianceParts,
    cases_for_gap,
    design_effect,
    repeats_for_gap,
    variance_parts,
)


def simulated(between, within, n, repeats, seed=5):
    rng = np.random.default_rng(seed)
    cases = rng.normal(0.0, math.sqrt(between), size=(n, 1))
    return cases + rng.normal(0.0, math.sqrt(within), size=(n, repeats))


@pytest.mark.parametrize(("between", "within"), [(0.1, 0.4), (0.0, 0.3), (0.2, 0.0)])
def test_the_parts_are_those_that_made_the_data(between, within):
    parts = variance_parts(simulated(between, within, 4000, 4))
    assert parts.between == pytest.approx(between, abs=0.02)
    assert parts.within == pytest.approx(within, abs=0.02)
    assert parts.repeats == 4


def test_one_repeat_says_nothing_about_variance_within_cases():
    parts = variance_parts(simulated(0.1, 0.4, 2000, 1))
    assert parts.within is None
    assert parts.between == pytest.approx(0.5, abs=0.05)
    assert repeats_for_gap(parts, 1.0, 100, 0.2, 0.05) is None


def test_a_missing_repeat_is_left_out_and_a_case_without_any_is_refused():
    differences = np.array([[1.0, 0.0], [np.nan, 1.0], [0.0, 0.0]])
    assert variance_parts(differences).within == pytest.approx((0.5 + 0.0) / 2)
    with pytest.raises(ValueError, match="case 1 has no difference"):
        variance_parts(np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="must be"):
        variance_parts(np.array([1.0]))


def test_cases_that_fail_together_have_a_design_effect_above_one():
    values = np.repeat([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], 5)
    estimate = clustered_mean(values, [str(index // 5) for index in range(30)])
    assert design_effect(estimate, float(np.var(values, ddof=1))) > 3
    assert design_effect(estimate, 0.0) == 1.0
    assert design_effect(clustered_mean([0.1, 0.2], ["a", "a"]), 0.1) == 1.0


@given(st.floats(0.001, 1.0), st.integers(2, 500), st.floats(0.001, 0.5), st.sampled_from([0.05, 0.01]))
def test_so_many_cases_put_the_bound_at_the_limit_and_not_many_more_than_it_takes(error, n, gap, alpha):
    needed = cases_for_gap(error, n, gap, alpha)
    z = {0.05: 1.6448536, 0.01: 2.3263479}[alpha]
    if needed is None:
        assert n * (z * error / gap) ** 2 > 1_000_000
        return
    assert needed > n
    assert z * error * math.sqrt(n / needed) <= gap * (1 + 1e-6)


@pytest.mark.parametrize(("error", "gap"), [(0.1, 0.0), (0.1, -0.2), (math.inf, 0.1), (1.0, 1e-8)])
def test_no_number_of_cases_decides_without_a_gap_or_a_standard_error(error, gap):
    assert cases_for_gap(error, 100, gap, 0.05) is None


def test_so_many_repeats_and_no_fewer_put_the_bound_at_the_limit():
    parts = VarianceParts(between=0.02, within=0.4, repeats=1)
    repeats = repeats_for_gap(parts, 1.2, 100, 0.05, 0.05)
    assert repeats is not None

    def margin(count):
        return 1.6448536 * math.sqrt(1.2 * parts.of_mean(count) / 100)

    assert margin(repeats) <= 0.05 + 1e-6 < margin(repeats - 1)


@pytest.mark.parametrize(
    "parts", [VarianceParts(0.5, 0.1, 2), VarianceParts(0.05, 0.0, 2), VarianceParts(0.0925, 0.3, 2)]
)
def test_repeats_do_not_help_where_cases_differ_too_much_or_repeats_are_copies(parts):
    assert repeats_for_gap(parts, 1.0, 100, 0.05, 0.05) is None
    assert MOST_REPEATS == 100
