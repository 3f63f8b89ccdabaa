"""The sign-flip test, Holm's correction and the non-regression decision."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shipway.stats.paired import (
    decide_non_regression,
    holm,
    n_needed,
    paired_test,
    smallest_visible_delta,
)
from shipway.stats.proportions import zero_failures_upper

SCORES = st.floats(-1.0, 1.0)
SHARES = st.floats(0.0, 1.0)


def one_case_per_document(size):
    return [f"doc{i:04}" for i in range(size)]


def brute_force_p_value(sums_in_tenths):
    observed = sum(sums_in_tenths)
    patterns = list(itertools.product((-1, 1), repeat=len(sums_in_tenths)))
    as_low = sum(
        sum(sign * value for sign, value in zip(pattern, sums_in_tenths, strict=True)) <= observed
        for pattern in patterns
    )
    return as_low / len(patterns)


@given(st.lists(st.integers(-10, 10), min_size=1, max_size=9))
def test_enumeration_equals_brute_force_over_all_sign_patterns_in_whole_numbers(tenths):
    result = paired_test([t / 10 for t in tenths], one_case_per_document(len(tenths)), alpha=0.05, seed=0)
    assert result.exact
    assert result.p_value == pytest.approx(brute_force_p_value(tenths), abs=1e-12)


@given(st.lists(st.tuples(st.integers(-10, 10), st.sampled_from("abcde")), min_size=1, max_size=20))
def test_signs_flip_per_cluster_and_not_per_case(rows):
    result = paired_test([t / 10 for t, _ in rows], [doc for _, doc in rows], alpha=0.05, seed=0)
    sums = [sum(t for t, doc in rows if doc == name) for name in sorted({doc for _, doc in rows})]
    assert result.p_value == pytest.approx(brute_force_p_value(sums), abs=1e-12)


@given(st.lists(SCORES, min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_the_p_value_is_positive_at_most_one_and_the_bounds_enclose_the_mean(differences, seed):
    result = paired_test(differences, one_case_per_document(len(differences)), alpha=0.05, seed=seed, permutations=99)
    assert 0.0 < result.p_value <= 1.0
    assert result.lower_bound <= result.mean_difference <= result.upper_bound
    assert result.interval[0] <= result.lower_bound
    assert result.upper_bound <= result.interval[1]


@given(st.lists(SCORES, min_size=1, max_size=12), st.floats(0.0, 0.5))
def test_a_larger_drop_in_every_case_never_has_a_larger_exact_p_value(differences, further_drop):
    clusters = one_case_per_document(len(differences))
    before = paired_test(differences, clusters, alpha=0.05, seed=0)
    after = paired_test([d - further_drop for d in differences], clusters, alpha=0.05, seed=0)
    assert after.p_value <= before.p_value + 1e-12


def test_ten_documents_that_all_drop_have_a_p_value_of_one_in_1024():
    drops = [-0.1, -0.2, -0.3, -0.1, -0.2, -0.3, -0.1, -0.2, -0.3, -0.1]
    assert paired_test(drops, one_case_per_document(10), alpha=0.05, seed=0).p_value == 1 / 1024


def test_monte_carlo_comes_close_to_enumeration_and_repeats_with_its_seed():
    rng = np.random.default_rng(5)
    differences = rng.normal(-0.05, 0.2, size=17)
    clusters = one_case_per_document(17)
    first = paired_test(differences, clusters, alpha=0.05, seed=3)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=17)))
    exact_p = float(np.mean(signs @ differences <= differences.sum() + 1e-12))
    assert not first.exact
    assert first.p_value == pytest.approx(exact_p, abs=4 * math.sqrt(exact_p * (1 - exact_p) / 10_000))
    assert paired_test(differences, clusters, alpha=0.05, seed=3) == first
    assert paired_test(differences, clusters, alpha=0.05, seed=4).p_value != first.p_value


def test_the_smallest_monte_carlo_p_value_counts_the_observed_pattern():
    result = paired_test([-1.0] * 60, one_case_per_document(60), alpha=0.05, seed=0, permutations=499)
    assert result.p_value == 1 / 500


def test_unchanged_clusters_are_left_out_so_that_few_changed_ones_are_enumerated():
    differences = [0.0] * 100 + [-1.0] * 5
    result = paired_test(differences, one_case_per_document(105), alpha=0.05, seed=0)
    assert (result.exact, result.p_value) == (True, 1 / 32)


def test_bounds_and_interval_agree_with_scipys_paired_t_when_cases_are_independent():
    differences = [0.1, -0.3, 0.2, 0.0, -0.4, 0.1, 0.3]
    result = paired_test(differences, one_case_per_document(7), alpha=0.05, seed=0)
    expected = stats.ttest_1samp(differences, 0.0)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert result.lower_bound == pytest.approx(expected.confidence_interval(0.90).low)
    assert result.upper_bound == pytest.approx(expected.confidence_interval(0.90).high)


def test_the_minimum_detectable_effect_is_about_two_and_a_half_standard_errors():
    result = paired_test([0.1, -0.3, 0.2, 0.0], one_case_per_document(4), alpha=0.05, seed=0)
    assert result.minimum_detectable_effect == pytest.approx((1.644854 + 0.841621) * result.standard_error, rel=1e-5)


def test_one_cluster_can_neither_pass_nor_fail():
    result = paired_test([-0.9, -0.8, -0.9], ["doc"] * 3, alpha=0.05, seed=0)
    assert (result.standard_error, result.lower_bound, result.p_value) == (math.inf, -math.inf, 0.5)
    assert decide_non_regression(result, adjusted_p=result.p_value, alpha=0.05, delta=0.1) == "INCONCLUSIVE"


def test_unchanged_cases_have_a_p_value_of_one_and_say_that_nothing_varied():
    result = paired_test([0.0] * 8, one_case_per_document(8), alpha=0.05, seed=0)
    assert (result.p_value, result.standard_error, result.lower_bound) == (1.0, 0.0, 0.0)
    assert result.zero_variance


@pytest.mark.parametrize("differences", [[], [0.1, math.nan]])
def test_no_differences_or_a_missing_one_is_an_error_and_never_a_zero(differences):
    with pytest.raises(ValueError, match=r"values must be|missing score"):
        paired_test(differences, one_case_per_document(len(differences)), alpha=0.05, seed=0)


@pytest.mark.parametrize("alpha", [0.0, 1.0, math.nan])
def test_an_alpha_outside_the_open_interval_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        paired_test([0.1], ["doc"], alpha=alpha, seed=0)


def test_unchanged_releases_are_blocked_no_more_often_than_alpha_where_a_fixed_limit_blocks_a_quarter():
    rng = np.random.default_rng(20)
    runs, documents, per_document = 600, 20, 5
    clusters = [f"doc{i}" for i in range(documents) for _ in range(per_document)]
    rejected = failed = dropped_two_points = 0
    for run in range(runs):
        # Both arms drift together within a document, and each case's score is itself noisy.
        document_noise = np.repeat(rng.normal(0.0, 0.15, documents), per_document)
        differences = document_noise + rng.normal(0.0, 0.3, documents * per_document)
        result = paired_test(differences, clusters, alpha=0.05, seed=run, permutations=199)
        rejected += result.p_value <= 0.05
        failed += decide_non_regression(result, adjusted_p=result.p_value, alpha=0.05, delta=0.02) == "FAIL"
        dropped_two_points += result.mean_difference <= -0.02
    monte_carlo_error = 3 * math.sqrt(0.05 * 0.95 / runs)
    assert failed <= rejected <= runs * (0.05 + monte_carlo_error)
    assert rejected >= runs * (0.05 - monte_carlo_error)
    assert dropped_two_points > runs * 0.25


def test_a_release_that_is_worse_by_delta_passes_no_more_often_than_alpha():
    rng = np.random.default_rng(21)
    runs, delta = 500, 0.1
    clusters = one_case_per_document(40)
    passed = 0
    for run in range(runs):
        result = paired_test(rng.normal(-delta, 0.3, 40), clusters, alpha=0.05, seed=run, permutations=19)
        passed += decide_non_regression(result, adjusted_p=result.p_value, alpha=0.05, delta=delta) == "PASS"
    assert passed <= runs * (0.05 + 3 * math.sqrt(0.05 * 0.95 / runs))


def test_a_drop_twice_the_minimum_detectable_effect_fails_nearly_always():
    rng = np.random.default_rng(22)
    delta = smallest_visible_delta(80, 80, 0.32)
    decisions = []
    for run in range(60):
        result = paired_test(
            rng.normal(-2 * delta, 0.32, 80), one_case_per_document(80), alpha=0.05, seed=run, permutations=199
        )
        decisions.append(decide_non_regression(result, adjusted_p=result.p_value, alpha=0.05, delta=delta))
    assert decisions.count("FAIL") >= 57


@given(st.lists(SCORES, min_size=2, max_size=12), SHARES, st.floats(0.001, 0.5))
def test_the_decision_follows_the_written_rule_for_every_result(differences, adjusted_p, delta):
    result = paired_test(differences, one_case_per_document(len(differences)), alpha=0.05, seed=0)
    decision = decide_non_regression(result, adjusted_p=adjusted_p, alpha=0.05, delta=delta)
    must_fail = adjusted_p <= 0.05 and -result.mean_difference >= delta
    may_pass = result.lower_bound > -delta
    assert decision == ("FAIL" if must_fail else "PASS" if may_pass else "INCONCLUSIVE")


def test_a_significant_drop_smaller_than_delta_does_not_fail():
    result = paired_test([-0.03] * 10 + [-0.05] * 10, one_case_per_document(20), alpha=0.05, seed=0)
    assert result.p_value <= 0.05
    assert decide_non_regression(result, adjusted_p=result.p_value, alpha=0.05, delta=0.1) == "PASS"
    assert decide_non_regression(result, adjusted_p=result.p_value, alpha=0.05, delta=0.04) == "FAIL"


def test_a_lower_bound_that_touches_delta_is_not_yet_a_pass():
    result = replace(paired_test([0.0, 0.1], ["a", "b"], alpha=0.05, seed=0), lower_bound=-0.1)
    assert decide_non_regression(result, adjusted_p=1.0, alpha=0.05, delta=0.1) == "INCONCLUSIVE"
    assert decide_non_regression(result, adjusted_p=1.0, alpha=0.05, delta=0.1001) == "PASS"


@pytest.mark.parametrize(("adjusted_p", "delta"), [(1.2, 0.1), (math.nan, 0.1), (0.5, 0.0), (0.5, math.nan)])
def test_a_decision_on_impossible_numbers_is_refused(adjusted_p, delta):
    result = paired_test([0.0, 0.1], ["a", "b"], alpha=0.05, seed=0)
    with pytest.raises(ValueError, match=r"adjusted_p|delta"):
        decide_non_regression(result, adjusted_p=adjusted_p, alpha=0.05, delta=delta)


def test_holm_multiplies_the_smallest_p_value_by_the_number_of_metrics_and_keeps_the_order():
    adjusted = holm({"faithfulness": 0.04, "recall": 0.01, "style": 0.03})
    assert list(adjusted) == ["faithfulness", "recall", "style"]
    assert adjusted == pytest.approx({"faithfulness": 0.06, "recall": 0.03, "style": 0.06})


@given(st.dictionaries(st.text(max_size=3), SHARES, max_size=8))
def test_holm_never_lowers_a_p_value_exceeds_bonferroni_or_changes_the_ranking(p_values):
    adjusted = holm(p_values)
    assert adjusted.keys() == p_values.keys()
    for name, p in p_values.items():
        assert p <= adjusted[name] <= min(1.0, p * len(p_values)) or adjusted[name] == p
    by_p = sorted(p_values, key=lambda name: p_values[name])
    assert all(adjusted[a] <= adjusted[b] for a, b in itertools.pairwise(by_p))


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=8), st.floats(0.01, 0.2))
def test_holm_rejects_exactly_what_its_step_down_procedure_rejects(p_values, alpha):
    adjusted = holm({str(i): p for i, p in enumerate(p_values)})
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if (len(p_values) - rank) * p_values[i] > alpha:
            break
        rejected.add(str(i))
    assert {name for name, p in adjusted.items() if p <= alpha} == rejected


@pytest.mark.parametrize("p", [math.nan, -0.1, 1.1])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match="p-value of 'recall'"):
        holm({"recall": p})


@given(st.floats(0.001, 0.2), st.integers(2, 500), st.floats(0.005, 0.3))
def test_the_cases_needed_bring_the_minimum_detectable_effect_down_to_delta(standard_error, n, delta):
    needed = n_needed(standard_error, n, delta)
    assert needed is not None
    z_sum = stats.norm.ppf(0.95) + stats.norm.ppf(0.8)
    assert z_sum * standard_error * math.sqrt(n / needed) <= delta * (1 + 1e-9)
    if needed > 1:
        assert z_sum * standard_error * math.sqrt(n / (needed - 1)) > delta * (1 - 1e-9)


def test_one_cluster_cannot_say_how_many_cases_are_needed_and_no_variance_needs_one():
    assert n_needed(math.inf, 5, 0.1) is None
    assert n_needed(0.0, 5, 0.1) == 1
    with pytest.raises(ValueError, match="standard_error"):
        n_needed(math.nan, 5, 0.1)


def test_eighty_cases_see_about_nine_points_and_two_points_take_about_1500():
    assert smallest_visible_delta(80, 80, 0.32) == pytest.approx(0.09, abs=0.003)
    assert smallest_visible_delta(1500, 1500, 0.32) == pytest.approx(0.02, abs=0.001)


def test_cases_that_share_documents_see_less_than_as_many_from_separate_documents():
    assert smallest_visible_delta(20, 100, 0.3) > smallest_visible_delta(100, 100, 0.3)
    assert smallest_visible_delta(20, 100, 0.9, cluster_correlation=1.0) == pytest.approx(
        smallest_visible_delta(20, 20, 0.9)
    )


def test_without_variance_the_visible_drop_is_what_unchanged_clusters_leave_possible():
    assert smallest_visible_delta(80, 80, 0.0) == zero_failures_upper(80, 0.05)


def test_one_cluster_sees_no_drop_at_all():
    assert smallest_visible_delta(1, 50, 0.3) == math.inf


@pytest.mark.parametrize(("n_clusters", "n", "sd"), [(0, 5, 0.1), (6, 5, 0.1), (5, 5, -0.1), (5, 5, math.nan)])
def test_a_dataset_that_cannot_be_is_refused(n_clusters, n, sd):
    with pytest.raises(ValueError, match=r"must be at least|sd_diff"):
        smallest_visible_delta(n_clusters, n, sd)
