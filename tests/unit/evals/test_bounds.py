import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shipway.evals.bounds import bounds_of, cases_needed
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case
from shipway.evals.sample import Sample
from shipway.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

SHARE, MEAN, LATENCY = METRICS["correct"], METRICS["mrr"], METRICS["latency_ms"]


def sample_of(values, clusters=None):
    names = clusters or [f"d{i}" for i in range(len(values))]
    cases = tuple(Case(id=f"c{i}", question="?", cluster=name) for i, name in enumerate(names))
    return Sample(cases, tuple(values), tuple(values), len(values), 0, ())


def test_whole_proportions_have_exact_bounds():
    bounds = bounds_of(sample_of([1.0] * 9 + [0.0]), SHARE, 0.05)
    assert (bounds.lower, bounds.upper) == (clopper_pearson_lower(9, 10, 0.05), clopper_pearson_upper(9, 10, 0.05))


def test_fractions_of_a_case_are_rounded_against_the_release_on_either_side():
    bounds = bounds_of(sample_of([1.0] * 9 + [0.5]), SHARE, 0.05)
    assert bounds.value == pytest.approx(0.95)
    assert (bounds.lower, bounds.upper) == (clopper_pearson_lower(9, 10, 0.05), 1.0)


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30)


@given(scores, st.sampled_from([SHARE, MEAN]), st.booleans(), st.integers(1, 5))
def test_the_value_lies_between_its_bounds_and_they_between_0_and_1(values, metric, robust, size):
    clusters = [f"d{i // size}" for i in range(len(values))]
    bounds = bounds_of(sample_of(values, clusters), metric, 0.05, cluster_robust=robust)
    assert 0.0 <= bounds.lower <= bounds.value + 1e-12
    assert bounds.value - 1e-12 <= bounds.upper <= 1.0


@given(scores, st.integers(1, 5))
def test_the_cluster_robust_bounds_are_never_narrower(values, size):
    sample = sample_of(values, [f"d{i // size}" for i in range(len(values))])
    plain, robust = (bounds_of(sample, SHARE, 0.05, cluster_robust=flag) for flag in (False, True))
    assert robust.lower <= plain.lower + 1e-12
    assert robust.upper >= plain.upper - 1e-12


def test_a_mean_from_one_document_has_no_bound():
    bounds = bounds_of(sample_of([100.0, 120.0], ["d", "d"]), LATENCY, 0.05)
    assert (bounds.lower, bounds.upper) == (-math.inf, math.inf)


def test_four_times_the_cases_halve_the_margin_of_a_mean():
    sample = sample_of([90.0, 110.0] * 10)
    margin = bounds_of(sample, LATENCY, 0.05).upper - 100.0
    assert cases_needed(sample, LATENCY, 100.0 + margin / 2, 0.05) in (80, 81)


def test_no_number_of_cases_helps_at_the_limit_or_in_one_cluster():
    assert cases_needed(sample_of([0.0, 1.0]), SHARE, 0.5, 0.05) is None
    assert cases_needed(sample_of([90.0, 110.0]), LATENCY, 100.0, 0.05) is None
    assert cases_needed(sample_of([90.0, 110.0], ["d", "d"]), LATENCY, 120.0, 0.05) is None


def test_the_cases_needed_are_the_same_however_far_beyond_either_side_of_the_limit():
    sample = sample_of([90.0, 110.0] * 10)
    assert cases_needed(sample, LATENCY, 95.0, 0.05) == cases_needed(sample, LATENCY, 105.0, 0.05) > 20


@given(
    right=st.integers(0, 60), n=st.integers(2, 60), limit=st.floats(0.02, 0.98), better=st.sampled_from(["", "wrong"])
)
def test_the_cases_needed_of_a_share_decide_it(right, n, limit, better):
    metric = METRICS["wrong_refusal"] if better else SHARE
    sample = sample_of([1.0] * min(right, n) + [0.0] * (n - min(right, n)))
    needed = cases_needed(sample, metric, limit, 0.05)
    mean = min(right, n) / n
    assume(needed is not None and needed < 5_000)
    hits = mean * needed
    whole = math.floor(hits + 1e-9) if mean > limit else math.ceil(hits - 1e-9)
    again = bounds_of(sample_of([1.0] * whole + [0.0] * (needed - whole)), metric, 0.05)
    assert needed > n
    assert again.lower >= limit - 1e-12 if mean > limit else again.upper <= limit + 1e-12
