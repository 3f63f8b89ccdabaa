import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa

from shipway.stats.agreement import (
    Confusion,
    cohen_kappa,
    confusion,
    corrected_rate,
    kappa_interval,
    mcnemar_exact,
)

COUNTS = st.integers(0, 200)


def test_the_four_outcomes_are_counted():
    people = [True, True, False, False, False]
    judge = [True, False, True, False, False]

    assert confusion(people, judge) == Confusion(1, 1, 1, 2)


def test_labels_that_are_not_pairs_are_refused():
    with pytest.raises(ValueError, match="got 1 by people and 2 by the judge"):
        confusion([True], [True, False])
    with pytest.raises(ValueError, match="got 0 by people and 0 by the judge"):
        confusion([], [])


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_kappa_equals_the_reference(a, b, c, d):
    counts = Confusion(a, b, c, d)
    found = cohen_kappa(counts) if counts.n else None

    if not (b or c or (a and d)):
        assert found is None
    else:
        assert found == pytest.approx(cohens_kappa(np.array([[a, b], [c, d]]), return_results=False), abs=1e-12)


def test_kappa_of_two_that_always_say_yes_is_undefined_and_not_1():
    assert cohen_kappa(confusion([True] * 20, [True] * 20)) is None


def test_a_judge_that_always_says_yes_does_not_agree_beyond_chance():
    assert cohen_kappa(confusion([True] * 90 + [False] * 10, [True] * 100)) == 0.0


def test_the_interval_holds_kappa_and_is_the_same_for_the_same_seed():
    people = [True] * 40 + [False] * 40
    judge = [True] * 34 + [False] * 6 + [False] * 33 + [True] * 7
    clusters = [str(i) for i in range(80)]

    low, high = kappa_interval(people, judge, clusters, seed=1)

    kappa = cohen_kappa(confusion(people, judge))
    assert low < kappa < high
    assert kappa_interval(people, judge, clusters, seed=1) == (low, high)
    # The large-sample interval of the reference, within the width of one bootstrap.
    known = cohens_kappa(np.array([[34, 6], [7, 33]]))
    assert (low, high) == (pytest.approx(known.kappa_low, abs=0.05), pytest.approx(known.kappa_upp, abs=0.05))


def test_labels_of_one_cluster_count_as_one_and_widen_the_interval():
    people = [True, False] * 40
    judge = [True, False] * 30 + [False, True] * 10
    apart = kappa_interval(people, judge, [str(i) for i in range(80)], seed=1)
    together = kappa_interval(people, judge, [str(i // 8) for i in range(80)], seed=1)

    assert together[1] - together[0] > apart[1] - apart[0]
    assert kappa_interval(people, judge, ["same"] * 80, seed=1) is None


def test_the_interval_covers_the_true_kappa_about_as_often_as_it_says():
    rng = np.random.Generator(np.random.Philox(7))
    # Half are right; the judge finds 90 % of them and calls 20 % of the others right: kappa 0.7.
    hits = 0
    for _ in range(200):
        people = rng.random(100) < 0.5
        judge = rng.random(100) < np.where(people, 0.9, 0.2)
        low, high = kappa_interval(people.tolist(), judge.tolist(), [str(i) for i in range(100)], seed=3)
        hits += low <= 0.7 <= high
    assert hits >= 180


@pytest.mark.parametrize("truth", [0.1, 0.5, 0.8])
def test_the_corrected_rate_finds_the_rate_behind_the_judge(truth):
    counts = Confusion(true_positive=85, false_negative=15, false_positive=30, true_negative=70)
    judged = truth * 0.85 + (1 - truth) * 0.30

    found = corrected_rate(judged, counts, 1000)

    assert found.rate == pytest.approx(truth)
    assert not found.clipped


def test_the_variance_of_the_corrected_rate_is_that_of_repeated_studies():
    rng = np.random.Generator(np.random.Philox(11))
    rates, variances = [], []
    for _ in range(3000):
        right = rng.binomial(400, 0.6)
        judged = (rng.binomial(right, 0.85) + rng.binomial(400 - right, 0.3)) / 400
        tp, tn = int(rng.binomial(80, 0.85)), int(rng.binomial(60, 0.7))
        found = corrected_rate(judged, Confusion(tp, 80 - tp, 60 - tn, tn), 400)
        rates.append(found.rate)
        variances.append(found.variance)

    assert np.mean(variances) == pytest.approx(np.var(rates), rel=0.12)


@pytest.mark.parametrize("counts", [Confusion(18, 2, 60, 240), Confusion(270, 30, 5, 20)])
def test_the_variance_of_the_corrected_rate_is_that_of_its_three_shares(counts):
    def theta(p, q0, q1):
        return (p + q0 - 1) / (q0 + q1 - 1)

    shares = [(0.55, 150), (counts.specificity, counts.negatives), (counts.sensitivity, counts.positives)]
    known = 0.0
    for place, (share, n) in enumerate(shares):
        up, down = (
            [value + (sign if i == place else 0) for i, (value, _) in enumerate(shares)] for sign in (1e-6, -1e-6)
        )
        slope = (theta(*up) - theta(*down)) / 2e-6
        known += slope**2 * share * (1 - share) / n

    assert corrected_rate(0.55, counts, 150).variance == pytest.approx(known, rel=1e-5)


def test_a_corrected_rate_outside_0_and_1_is_clipped_and_says_so():
    found = corrected_rate(0.05, Confusion(80, 20, 20, 80), 100)

    assert (found.rate, found.clipped) == (0.0, True)
    assert found.interval()[0] == 0.0


def test_a_judge_that_is_no_better_than_chance_corrects_nothing():
    with pytest.raises(ValueError, match="no better than chance: it finds 50% of the right and 50% of the wrong"):
        corrected_rate(0.5, Confusion(5, 5, 5, 5), 100)


def test_labels_of_one_kind_alone_correct_nothing():
    with pytest.raises(ValueError, match="needs labels of both kinds, got 10 of 1 and 0 of 0"):
        corrected_rate(0.5, Confusion(9, 1, 0, 0), 100)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="rate must lie between 0 and 1"):
        corrected_rate(rate, Confusion(9, 1, 1, 9), 100)


@given(COUNTS, COUNTS)
def test_mcnemar_equals_the_reference(gone, new):
    known = mcnemar(np.array([[0, gone], [new, 0]]), exact=True).pvalue if gone + new else 1.0

    assert mcnemar_exact(gone, new) == pytest.approx(known, abs=1e-12)
