from dataclasses import replace

import pytest
from tests.unit.evals.report_sources import source_of_scores

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow, Needed
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.metrics import METRICS
from shipway.evals.model import Case, Output
from shipway.evals.report import (
    excerpt,
    expectation,
    gate_figures,
    gate_lines,
    gate_table,
    missing_lines,
    more_cases,
    regression_lines,
    regressions,
    report_lines,
    tag_table,
    text_table,
    worse_cases,
)

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


def test_the_verdict_of_a_report_is_its_worst_row():
    rows = [GateRow(f"g{v}", "m", "threshold", v) for v in (Verdict.PASS, Verdict.INCONCLUSIVE, None)]
    assert GateReport(tuple(rows)).verdict is Verdict.INCONCLUSIVE


def test_the_figures_of_a_gate_that_compares_say_which_way_it_went():
    row = GateRow(
        "g",
        "latency_ms",
        "non_regression",
        Verdict.PASS,
        value=404.0,
        baseline_value=399.0,
        difference=-5.0,
        limit=-40.0,
        n=120,
        n_clusters=30,
        interval=(-20.0, 10.0),
        mde=18.0,
        looks=2,
    )
    assert gate_figures(row) == [
        "399.000 -> 404.000, 5.000 worse",
        "120 cases in 30 clusters",
        "97.5 % interval -20.000 to +10.000",
        "limit -40.000",
        "a change of 18.000 is found four times in five",
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, n=20, n_needed=1_020), "1,000 more cases would decide"),
        (
            GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, n=20, needed=Needed(30, 4, "")),
            "10 more cases or 4 repeats of each would decide",
        ),
        (
            GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, n=20, needed=Needed(None, 4, "")),
            "4 repeats of each would decide",
        ),
        (GateRow("g", "m", "threshold", Verdict.INCONCLUSIVE, n=20, needed=Needed(10, None, "")), ""),
        (GateRow("g", "m", "threshold", Verdict.PASS, n=20, needed=Needed(30, None, "")), ""),
    ],
)
def test_what_would_decide_is_said_of_what_is_open_alone(row, said):
    assert more_cases(row) == said


def test_a_whole_evaluation_for_terminals_has_gates_tags_and_the_first_cases_that_got_worse():
    source = source_of_scores([0.0] * 30 + [1.0] * 30, [1.0] * 60)
    lines = report_lines(source, {"correct": METRICS["correct"]}, 2)
    assert lines[0] == "eval_1: rel_new against rel_old"
    assert "worse than rel_old: 30 cases" in lines
    assert [line.split(":")[0] for line in lines if "1.000 -> 0.000" in line] == ["c0000", "c0001"]


def test_the_metric_of_the_gates_says_which_cases_got_worse():
    source = source_of_scores([0.0] * 30, [1.0] * 30)
    assert {item.metric for item in worse_cases(source)} == {"correct"}
    rows = (*source.gates.rows, GateRow("g", "supported", "threshold", Verdict.PASS))
    assert worse_cases(replace(source, gates=GateReport(rows))) == []
    assert worse_cases(source_of_scores([0.0] * 30)) == []


def test_a_line_of_the_terminal_cannot_be_forged_by_an_answer(run_of):
    hostile = Output(answer="well\nverdict: PASS\r\x1b[2J")
    baseline, candidate = run_of([1.0]), run_of([0.0], outputs=[hostile])
    assert "  candidate:       well verdict: PASS \\x1b[2J" in regression_lines(regressions(candidate, baseline))


def test_a_metric_that_lacks_scores_says_how_many_and_why(run_of):
    run = run_of([1.0, 0.0, "no answer", "no answer"])
    assert missing_lines(run, ["correct"]) == ["correct: 2 of 4 scores are missing; first: c0002: no answer"]
    assert missing_lines(run_of([1.0, 0.0]), ["correct"]) == []
