import pytest

from shipway.evals.metrics import METRICS
from shipway.evals.sample import draw, judged_cases


def test_repeats_are_averaged_within_a_case_and_the_worst_is_kept(run_of):
    sample = draw(run_of([[1.0, 0.0], [1.0, 1.0]]), METRICS["correct"])
    assert (sample.values, sample.worst, sample.n, sample.expected) == ((0.5, 1.0), (0.0, 1.0), 2, 4)


def test_the_worst_is_the_highest_where_less_is_better(run_of):
    assert draw(run_of([[0.0, 1.0]], metric="tenant_leak"), METRICS["tenant_leak"]).worst == (1.0,)


def test_a_case_with_one_missing_repeat_keeps_the_other_and_counts_the_missing(run_of):
    sample = draw(run_of([[1.0, "timeout"], [1.0, None]], metric="supported"), METRICS["supported"])
    assert (sample.values, sample.expected, sample.missing) == ((1.0, 1.0), 3, 1)
    assert sample.reasons == ("c0000: timeout",)


@pytest.mark.parametrize(("scored", "too_many"), [(98, False), (97, True)])
def test_two_percent_may_be_missing_and_no_more(run_of, scored, too_many):
    assert draw(run_of(["timeout"] * 2 + [1.0] * scored), METRICS["correct"]).too_many_missing is too_many


def test_a_case_to_which_the_metric_does_not_apply_is_not_judged(run_of):
    run = run_of([1.0, 1.0])
    assert judged_cases(run.dataset, METRICS["refused"], ()) == []
    assert len(judged_cases(run.dataset, METRICS["correct"], ())) == 2
