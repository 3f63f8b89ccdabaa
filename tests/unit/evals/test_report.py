import json
import math
import re

import pytest

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.model import Case, Output
from shipway.evals.report import (
    excerpt,
    expectation,
    gate_lines,
    gate_table,
    regression_lines,
    regressions,
    tag_table,
    text_table,
)
from shipway.evals.report_forms import as_json, escaped, markdown, run_as_json

SPECS = parse_gates([{"metric": "correct", "min": 0.8}, {"metric": "correct", "non_regression": "auto"}])


def test_a_gate_row_shows_value_bound_limit_and_sizes(run_of):
    report = evaluate_gates(SPECS, run_of([1.0] * 17 + [0.0] * 3), None, GateOptions(first_release=True))
    threshold, paired = gate_table(report)
    assert threshold["verdict"] == "INCONCLUSIVE"
    assert (threshold["value"], threshold["bound"], threshold["limit"], threshold["n"]) == (
        "0.850",
        "0.656",
        "0.800",
        "20",
    )
    assert int(threshold["n needed"]) > 20
    assert (paired["verdict"], paired["bound"]) == ("n/a", "-")


def test_the_last_line_is_the_verdict_and_names_the_gates_behind_it(run_of):
    good, bad = run_of([1.0] * 60), run_of([0.0, 1.0] * 30)
    assert gate_lines(evaluate_gates(SPECS, good, good))[-1] == "verdict: PASS"
    lines = gate_lines(evaluate_gates(SPECS, bad, good))
    assert lines[-2] == "warning: correct: worse than the baseline by 50.0 points"
    assert lines[-1] == "verdict: FAIL (correct >= 0.8; correct does not regress)"


def test_a_report_without_gates_says_so():
    assert gate_lines(GateReport(())) == ["verdict: NO_DATA (no gates)"]


def test_columns_are_aligned():
    assert text_table([{"a": "1", "b": "x"}, {"a": "200", "b": "y"}]) == ["a    b", "1    x", "200  y"]
    assert text_table([]) == []


def test_the_table_by_tag_counts_the_cases_behind_each_mean(run_of):
    run = run_of([1.0, 0.0, 1.0, 1.0], tags=(("pdf",), ("html",)))
    assert tag_table(run, ["correct", "refused"]) == [
        {"tag": "all", "correct": "0.750 (n=4)", "refused": "-"},
        {"tag": "html", "correct": "0.500 (n=2)", "refused": "-"},
        {"tag": "pdf", "correct": "1.000 (n=2)", "refused": "-"},
    ]


def test_regressions_are_the_cases_that_got_worse_the_worst_first(run_of):
    baseline = run_of([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], ["error", "error"], [1.0, 0.0]])
    candidate = run_of([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    found = regressions(candidate, baseline)
    assert [(item.case.id, item.baseline_score, item.candidate_score) for item in found] == [
        ("c0001", 1.0, 0.0),
        ("c0000", 1.0, 0.5),
    ]


def test_regressions_of_a_metric_of_which_less_is_better(run_of):
    baseline, candidate = (run_of(scores, metric="wrong_refusal") for scores in ([0.0, 1.0], [1.0, 0.0]))
    assert [item.case.id for item in regressions(candidate, baseline, "wrong_refusal")] == ["c0000"]


def test_a_regression_shows_both_answers_and_the_models_words_where_they_were_changed(run_of):
    before = Output(answer="30 days", model_text="30 days", citations=("r.md",))
    after = Output(answer="See the\nreturns page.", model_text="About 40 days", citations=("s.md",))
    baseline, candidate = run_of([1.0], outputs=[before]), run_of([0.0], outputs=[after])
    assert regression_lines(regressions(candidate, baseline)) == [
        "c0000: correct 1.000 -> 0.000",
        "  question:        Question 0?",
        "  expected:        contains x; from doc0",
        "  baseline:        30 days",
        "  baseline cites:  r.md",
        "  candidate:       See the returns page.",
        "  candidate model: About 40 days",
        "  candidate cites: s.md",
    ]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (Case(id="a", question="?", unanswerable=True), "a refusal"),
        (Case(id="a", question="?", must_contain=("x", ("y", "z"))), "contains x, one of (y, z)"),
        (Case(id="a", question="?", must_not_contain=("n",), reference="r"), "does not contain n"),
        (Case(id="a", question="?", reference="r"), "r"),
    ],
)
def test_what_was_expected_is_said_in_words(case, words):
    assert expectation(case) == words


def test_long_texts_are_cut():
    assert len(excerpt("word " * 500)) == 400
    assert excerpt("short\n text") == "short text"


def test_markdown_shows_an_answer_as_text_and_never_as_markup(run_of):
    hostile = Output(answer="# hi\n| <img src=x> [click](https://evil.example) ![p](http://e) @all www.evil.example")
    baseline, candidate = run_of([1.0] * 20), run_of([0.0] * 20, outputs=[hostile] * 20)
    report = evaluate_gates(SPECS, candidate, baseline)
    text = markdown(report, tag_table(candidate, ["correct"]), regressions(candidate, baseline)[:1])
    assert text.startswith("## Evaluation: FAIL\n")
    assert "### Worse than the baseline: 1" in text
    assert "### By tag" in text
    assert re.findall(r"(?<!\\)(?:<img|\[click|!\[|https?:|@all|www\.)", text) == []
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {12, 3}


def test_escaping_keeps_plain_words():
    assert escaped("two words, 0.85") == "two words, 0.85"


def test_json_holds_every_gate_and_no_infinity(run_of):
    run = run_of([1.0, 0.0] * 60)
    rows = evaluate_gates(SPECS, run, run).rows
    report = GateReport(
        (GateRow("of one cluster", "mrr", "non_regression", Verdict.INCONCLUSIVE, bound=-math.inf), *rows)
    )
    body = as_json(report)
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert (body["verdict"], body["gates"][0]["bound"]) == ("FAIL", None)


def test_a_run_as_json_has_scores_errors_and_outputs(run_of):
    body = run_as_json(run_of([1.0, "timeout"]))
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert [(row["scores"], row["errors"]) for row in body["results"]] == [
        ({"correct": 1.0}, {}),
        ({}, {"correct": "timeout"}),
    ]


def test_the_verdict_of_a_report_is_its_worst_row():
    rows = [GateRow(f"g{v}", "m", "threshold", v) for v in (Verdict.PASS, Verdict.INCONCLUSIVE, None)]
    assert GateReport(tuple(rows)).verdict is Verdict.INCONCLUSIVE
