from dataclasses import replace
from typing import ClassVar

import pytest
from tests.unit.evals.conftest import build_run
from tests.unit.evals.report_sources import source_of_scores

from shipway.core.errors import UsageError
from shipway.evals.model import CaseResult, Dataset, Output
from shipway.evals.report_tables import grouped, overall, scored, shown_cases


def test_all_metrics_that_apply_are_there_those_of_gates_first():
    source = source_of_scores([1.0] * 30)
    extra = tuple(
        replace(result, scores={"abstention": 0.5, "mrr": None, **result.scores}) for result in source.run.results
    )
    source = replace(source, run=replace(source.run, results=extra))
    assert list(scored(source).metrics) == ["correct", "abstention"]


def test_a_mean_has_an_interval_no_narrower_than_the_exact_one_and_counts_what_is_missing():
    source = source_of_scores([1.0] * 18 + [0.0, 0.0, "timeout"])
    found = overall(source, scored(source)).candidate["correct"]
    assert (found.mean, found.n, found.missing) == (pytest.approx(0.9), 20, 1)
    # Clopper-Pearson of 18 in 20: 0.683 to 0.988.
    assert 0.65 < found.lower <= 0.684
    assert 0.987 <= found.upper < 1.0


def test_the_interval_of_cases_from_one_document_is_wider():
    alone, together = (
        overall(source, scored(source)).candidate["correct"]
        for source in (
            replace(source_of_scores([1.0] * 60), run=build_run(([1.0] * 4 + [0.0] * 2) * 10, per_cluster=per))
            for per in (1, 6)
        )
    )
    clumped = source_of_scores([1.0] * 60)
    clumped = replace(clumped, run=build_run([1.0] * 40 + [0.0] * 20, per_cluster=20))
    wide = overall(clumped, scored(clumped)).candidate["correct"]
    assert alone.mean == together.mean == wide.mean
    assert wide.upper - wide.lower > alone.upper - alone.lower


def test_tags_have_both_runs_and_the_largest_comes_first():
    source = source_of_scores([1.0, 0.0] * 15, [1.0] * 30)
    groups = grouped(source, scored(source), "tag").rows
    assert [(group.label, group.cases) for group in groups] == [("edge", 15), ("html", 15), ("pdf", 15)]
    means = {group.label: (group.candidate["correct"].mean, group.baseline["correct"].mean) for group in groups}
    assert means == {"edge": (0.0, 1.0), "html": (0.0, 1.0), "pdf": (1.0, 1.0)}


def test_clusters_of_one_case_are_no_group_and_those_left_out_are_counted(monkeypatch):
    source = source_of_scores([1.0] * 30)
    assert grouped(source, scored(source), "cluster").rows == []
    clustered = replace(source, run=build_run([1.0] * 30, per_cluster=3))
    monkeypatch.setattr("shipway.evals.report_tables.MOST_GROUPS", 4)
    found = grouped(clustered, scored(clustered), "cluster")
    assert (len(found.rows), found.left_out) == (4, 6)
    assert found.rows[0].candidate["correct"].n == 3


def test_the_cases_that_got_worse_come_first_then_those_without_a_score_then_those_that_failed():
    now = [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0], ["timeout", 1.0], [0.0, 0.0], [1.0, 1.0], *[[1.0, 1.0]] * 30]
    before = [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0], *[[1.0, 1.0]] * 30]
    source = source_of_scores(now, before)
    found = shown_cases(source, scored(source), 6)
    assert [item.case.id for item in found] == ["c0004", "c0002", "c0003", "c0001", "c0000", "c0005"]
    assert [sorted(item.signs) for item in found] == [
        ["failed", "worse"],
        ["failed", "worse"],
        ["error"],
        ["failed"],
        [],
        ["better"],
    ]
    assert found[0].signs["worse"] == ("correct",)


def test_the_repeat_that_is_shown_is_the_one_that_scored_worst():
    source = source_of_scores([[1.0, 1.0, 0.0]] * 30)
    (item,) = shown_cases(source, scored(source), 1)
    assert (item.repeat, item.candidate.output.answer) == (2, "answer 0.0")
    assert item.baseline is None


def test_where_nothing_got_worse_the_repeat_that_was_not_scored_is_shown():
    source = source_of_scores([[1.0, "timeout"]] + [[1.0, 1.0]] * 29)
    item = shown_cases(source, scored(source), 1)[0]
    assert (item.case.id, item.repeat, item.candidate.errors) == ("c0000", 1, {"correct": "timeout"})


class Disk(tuple):
    """Results that say which answers were read."""

    __slots__ = ()
    read: ClassVar[list[int]] = []

    def __getitem__(self, index):
        self.read.append(index)
        return tuple.__getitem__(self, index)

    def __iter__(self):
        raise AssertionError("every answer was read")

    def scores(self):
        return (replace(result, output=Output()) for result in tuple.__iter__(self))


def test_answers_are_read_for_the_cases_that_are_shown_alone(monkeypatch):
    monkeypatch.setattr(Disk, "read", [])
    source = source_of_scores([0.0] + [1.0] * 29, [1.0] * 30)
    # What knows its scores as columns has them read already.
    tables = scored(source)
    runs = [replace(run, results=Disk(run.results)) for run in (source.run, source.baseline_run)]
    source = replace(source, run=runs[0], baseline_run=runs[1])
    assert [item.case.id for item in shown_cases(source, tables, 2)] == ["c0000", "c0001"]
    assert Disk.read == [0, 1, 0, 1]


def test_runs_whose_files_have_another_order_are_compared_case_by_case():
    source = source_of_scores([0.0] + [1.0] * 29, [0.0] + [1.0] * 29)
    cases = source.run.dataset.cases
    turned = replace(source.baseline_run, dataset=Dataset("d", (*cases[1:], cases[0])))
    found = shown_cases(replace(source, baseline_run=turned), scored(replace(source, baseline_run=turned)), 30)
    assert [item for item in found if "worse" in item.signs or "better" in item.signs] == []


def test_a_result_of_a_case_that_nobody_knows_is_refused():
    source = source_of_scores([1.0] * 30)
    strange = (*source.run.results, CaseResult("other", 0, {"correct": 1.0}))
    with pytest.raises(UsageError, match="'other'"):
        scored(replace(source, run=replace(source.run, results=strange)))
