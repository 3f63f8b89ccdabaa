import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.core.errors import UsageError
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, CaseResult, Dataset
from shipway.evals.sample import draw
from shipway.evals.scores import ScoreTable

DATASET = Dataset("faq", tuple(Case(id=name, question="?") for name in ("b", "a")))


def table(*results: CaseResult, repeats: int = 1) -> ScoreTable:
    return ScoreTable.of(DATASET, results, repeats, ["correct"])


def test_a_score_stands_in_the_row_of_its_case_whatever_the_order_of_the_results():
    found = table(CaseResult("a", 1, {"correct": 0.25}), CaseResult("b", 0, {"correct": 1.0}), repeats=2)

    assert found.case_ids == ("b", "a")
    assert found.values["correct"][0, 0] == 1.0
    assert found.values["correct"][1, 1] == 0.25
    assert found.missing["correct"].tolist() == [[False, True], [True, False]]


def test_what_does_not_apply_is_not_missing():
    found = table(CaseResult("a", 0, {"correct": None}), CaseResult("b", 0, {"correct": 0.0}))

    assert math.isnan(found.values["correct"][1, 0])
    assert not found.missing["correct"].any()
    assert found.reasons["correct"] == {}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (CaseResult("a", 0, {}, {"correct": "timed out"}), "timed out"),
        (CaseResult("a", 0, {}, {"correct": ""}), "failed without a message"),
        (CaseResult("a", 0, {"mrr": 1.0}), "was not scored for correct"),
        (CaseResult("a", 0, {"correct": math.nan}), "the score is nan, which is not a number"),
        (CaseResult("a", 0, {"correct": math.inf}), "the score is inf, which is not a number"),
    ],
)
def test_what_could_not_be_scored_is_missing_with_its_reason(result, reason):
    found = table(result)

    assert found.reasons["correct"] == {(0, 0): "was not run", (1, 0): reason}
    assert found.missing["correct"].all()
    assert np.isnan(found.values["correct"]).all()


def test_a_later_result_replaces_an_error():
    found = table(CaseResult("a", 0, {}, {"correct": "timed out"}), CaseResult("a", 0, {"correct": 1.0}))

    assert found.values["correct"][1, 0] == 1.0
    assert found.reasons["correct"] == {(0, 0): "was not run"}


def test_a_result_that_nobody_asked_for_is_refused():
    with pytest.raises(UsageError, match="'c', which dataset 'faq' does not hold"):
        table(CaseResult("c", 0, {}))
    with pytest.raises(UsageError, match="repeat 1: the run has 1 repeats"):
        table(CaseResult("a", 1, {}))


def test_a_table_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        table().values["correct"][0, 0] = 1.0


SCORES = st.one_of(st.none(), st.just("timed out"), st.floats(0, 1))


@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=8))
def test_a_table_holds_what_a_sample_of_the_run_does(run_of, rows):
    run = run_of([list(row) for row in rows])
    found = ScoreTable.of(run.dataset, run.results, run.repeats, ["correct"])
    sample = draw(run, METRICS["correct"])
    scored = ~np.isnan(found.values["correct"]).all(axis=1)

    assert int(found.missing["correct"].sum()) == sample.missing
    assert [found.case_ids[row] for row in np.flatnonzero(scored)] == [case.id for case in sample.cases]
    assert np.nanmean(found.values["correct"][scored], axis=1).tolist() == pytest.approx(sample.values)
