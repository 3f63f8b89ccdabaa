from dataclasses import replace

import pytest
from tests.unit.evals.report_sources import source_of_scores

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.metrics import METRICS
from shipway.evals.model import Output
from shipway.evals.report import report_lines
from shipway.evals.report_failures import failures
from shipway.evals.report_files import rendered

MOSTLY_WRONG = [0.0] * 25 + [1.0] * 5


def test_the_cases_that_a_threshold_failed_for_are_shown_with_what_was_said():
    source = source_of_scores(MOSTLY_WRONG, outputs=[Output(answer=f"said {n}") for n in range(30)])

    lines = report_lines(source, METRICS, 2)

    at = lines.index("failed by correct: 25 cases")
    first, second = source.run.dataset.cases[:2]
    assert lines[at + 1] == f"{first.id}: correct 0.000"
    assert lines[at + 4] == "  answer:          said 0"
    assert [line for line in lines[at + 1 :] if not line.startswith("  ")][:2] == [
        f"{first.id}: correct 0.000",
        f"{second.id}: correct 0.000",
    ]


def test_a_comment_folds_them():
    text = "".join(rendered(source_of_scores(MOSTLY_WRONG), "markdown"))

    assert "<details><summary>Failed by correct: 25</summary>" in text
    assert text.count("  - expected: ") == 25


def test_with_a_baseline_the_cases_that_got_worse_say_more():
    source = source_of_scores(MOSTLY_WRONG, [1.0] * 30)

    assert not any("failed by" in line for line in report_lines(source, METRICS, 5))


def test_what_passed_has_no_failed_cases():
    source = source_of_scores([1.0] * 29 + [0.0])

    assert failures(source.run, source.gates, METRICS) == []


@pytest.mark.parametrize(("direction", "limit", "wrong"), [("lower", 0.5, 5), ("lower", 1.5, 0), ("higher", 0.5, 25)])
def test_a_measurement_is_wrong_beyond_its_limit(direction, limit, wrong):
    run = source_of_scores(MOSTLY_WRONG).run
    measured = replace(METRICS["correct"], bounded=False, direction=direction)
    row = GateRow("g", "correct", "threshold", Verdict.FAIL, limit=limit)

    assert len(failures(run, GateReport((row,)), {"correct": measured})) == wrong
