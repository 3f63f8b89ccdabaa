"""Clustered means and their standard errors."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.clusters import cluster_sums, clustered_mean, finite_values

SCORES = st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=30)


@given(SCORES)
def test_with_one_case_per_cluster_the_standard_error_is_the_ordinary_one(scores):
    result = clustered_mean(scores, [str(i) for i in range(len(scores))])
    assert result.standard_error == pytest.approx(np.std(scores, ddof=1) / math.sqrt(len(scores)), abs=1e-12)


def test_the_standard_error_of_unequal_clusters_matches_the_formula_worked_by_hand():
    # Mean 0.5; residual sums: a = 0.5 + 0.5 = 1, b = -0.5, c = -0.5; sqrt(1.5 * 3/2) / 4 = 0.375.
    result = clustered_mean([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "c"])
    assert (result.mean, result.standard_error) == (0.5, pytest.approx(0.375))


def test_copies_of_a_case_in_its_own_cluster_add_no_certainty():
    scores = [0.1, 0.9, 0.4, 0.7]
    once = clustered_mean(scores, ["a", "b", "c", "d"])
    five_times = clustered_mean(np.repeat(scores, 5), list("aaaaabbbbbcccccddddd"))
    assert five_times.standard_error == pytest.approx(once.standard_error)


@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(scores, shuffler: random.Random):
    rows = [(score, f"doc{i % 4}") for i, score in enumerate(scores)]
    shuffled = rows.copy()
    shuffler.shuffle(shuffled)
    first = clustered_mean([r[0] for r in rows], [r[1] for r in rows])
    second = clustered_mean([r[0] for r in shuffled], [r[1] for r in shuffled])
    assert second.standard_error == pytest.approx(first.standard_error, abs=1e-12)
    np.testing.assert_allclose(
        cluster_sums(np.array([r[0] for r in shuffled]), [r[1] for r in shuffled]),
        cluster_sums(np.array([r[0] for r in rows]), [r[1] for r in rows]),
        atol=1e-12,
    )


def test_one_cluster_has_an_infinite_standard_error_and_an_infinite_margin():
    result = clustered_mean([0.2, 0.8], ["only", "only"])
    assert (result.standard_error, result.t_margin(0.05)) == (math.inf, math.inf)


def test_equal_values_have_exactly_zero_standard_error_despite_rounding():
    result = clustered_mean([0.1] * 3, ["a", "b", "c"])
    assert (result.mean, result.standard_error, result.t_margin(0.05)) == (0.1, 0.0, 0.0)


def test_the_margin_is_the_students_t_quantile_times_the_standard_error():
    result = clustered_mean([0.0, 1.0, 0.0], ["a", "b", "c"])
    assert result.t_margin(0.05) == pytest.approx(2.919986 * result.standard_error, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], [], "non-empty"),
        ([[0.1], [0.2]], ["a", "b"], "one-dimensional"),
        ([0.1, math.nan], ["a", "b"], "value 1 is nan"),
        ([math.inf], ["a"], "value 0 is inf"),
        ([0.1, 0.2], ["a"], "2 values but 1 cluster names"),
    ],
)
def test_missing_scores_and_mismatched_lengths_are_refused(values, clusters, message):
    with pytest.raises(ValueError, match=message):
        finite_values(values, clusters)
