import json
import math
import re

import pytest

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow, Needed
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import evaluate_gates
from shipway.evals.model import Output
from shipway.evals.report import regressions, tag_table
from shipway.evals.report_forms import MARKER, MOST_BYTES, as_json, escaped, literal, markdown, run_as_json

SPECS = parse_gates([{"metric": "correct", "min": 0.8}, {"metric": "correct", "non_regression": "auto"}])


def test_a_comment_begins_with_the_marker_by_which_it_is_found_again(run_of):
    hostile = Output(answer="# hi\n| <img src=x> [click](https://evil.example) ![p](http://e) @all www.evil.example")
    baseline, candidate = run_of([1.0] * 20), run_of([0.0] * 20, outputs=[hostile] * 20)
    report = evaluate_gates(SPECS, candidate, baseline)
    lines = markdown(report, tag_table(candidate, ["correct"]), regressions(candidate, baseline)[:1]).splitlines()
    assert lines[:2] == [MARKER, "## Evaluation: FAIL"]
    assert "<details><summary>Worse than the baseline: 1</summary>" in lines
    assert "### By tag" in lines
    said = "` # hi | <img src=x> [click](https://evil.example) ![p](http://e) @all www.evil.example `"
    assert f"  - candidate: {said}" in lines


def test_a_comment_says_what_would_decide_what_is_open():
    row = GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, n=20, needed=Needed(1020, 7, "…"))
    assert "- g: 1,000 more cases or 7 repeats of each would decide" in markdown(GateReport((row,)))


def test_a_comment_keeps_below_the_limit_and_says_what_it_left_out(run_of):
    wordy = Output(answer="word " * 200)
    baseline, candidate = run_of([1.0] * 200), run_of([0.0] * 200, outputs=[wordy] * 200)
    worse = regressions(candidate, baseline)
    text = markdown(evaluate_gates(SPECS, candidate, baseline), tag_table(candidate, ["correct"]), worse)
    assert MOST_BYTES - 2_000 < len(text.encode()) <= MOST_BYTES
    shown = text.count("  - question: ")
    assert (
        f"_Left out, for a comment holds no more: {200 - shown} worse cases. The JSON and HTML reports have all._"
        in text
    )
    assert text.count("<details>") == text.count("</details>") == 1


def test_a_comment_with_too_many_gates_says_how_many_it_left_out():
    rows = tuple(GateRow(f"gate {number} {'x' * 200}", "m", "threshold", Verdict.FAIL) for number in range(1_000))
    text = markdown(GateReport(rows, ("a warning",)))
    assert len(text.encode()) <= MOST_BYTES
    assert re.search(r"no more: \d+ gates, 1 warnings\.", text) or re.search(r"no more: \d+ gates\.", text)
    assert text.startswith(f"{MARKER}\n## Evaluation: FAIL\n")


def test_escaping_keeps_plain_words():
    assert escaped("two words, 0.85") == "two words, 0.85"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two words, 0.85", "two words, 0.85"),
        ("a_b [c] <d>", "a\\_b \\[c\\] \\<d\\>"),
        ("ask @all", "` ask @all `"),
        ("see #12", "` see #12 `"),
        ("at deadbeef1", "` at deadbeef1 `"),
        ("https://x.example", "` https://x.example `"),
        ("a ``b`` @c", "``` a ``b`` @c ```"),
        ("@a|b", "` @a|b `"),
        ("", ""),
    ],
)
def test_what_a_host_would_act_on_is_code(text, shown):
    assert literal(text) == shown


def test_a_cell_keeps_its_bars():
    assert literal("@a|b", cell=True) == "` @a\\|b `"


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
