import json

import pytest

from shipway.core.errors import GateRefusedError, UsageError
from shipway.core.findings import FindingReport
from shipway.core.verdicts import Verdict
from shipway.evals.gate_spec import parse_gates
from shipway.evals.tools.gating import is_tool_metric, judged, tool_metrics
from shipway.evals.tools.ragas_results import parse
from shipway.evals.tools.scored import Place


def report(passes, errors=0, *, suite="promptfoo", version="1", asks="question"):
    """A report of cases that pass or fail, and of some that could not be judged."""
    verdicts = [Verdict.PASS if passed else Verdict.FAIL for passed in passes] + [Verdict.ERROR] * errors
    findings = [
        Place(suite, f"case-{place:03d}", question=f"{asks} {place}").finding(verdict, message="said so")
        for place, verdict in enumerate(verdicts)
    ]
    return FindingReport(suite, version, tuple(findings))


def scores(values, *, suite="ragas", metric="faithfulness", higher=True):
    return FindingReport(
        suite,
        "",
        tuple(
            Place(suite, f"case-{place:03d}").measured(metric, value, threshold=0.5, higher=higher)
            for place, value in enumerate(values)
        ),
    )


GATE = parse_gates([{"metric": "promptfoo.pass", "min": 0.8}])
PAIRED = parse_gates([{"metric": "promptfoo.pass", "non_regression": "auto"}])


def test_a_gate_on_a_tools_metric_passes_when_the_bound_is_above_it():
    found = judged(report([1] * 95 + [0] * 5), None, GATE)

    assert found.verdict is Verdict.PASS
    assert (found.gates.rows[0].value, found.gates.rows[0].n) == (0.95, 100)


def test_a_gate_on_a_tools_metric_fails_and_can_be_undecided():
    assert judged(report([1] * 50 + [0] * 50), None, GATE).verdict is Verdict.FAIL
    assert judged(report([1] * 82 + [0] * 18), None, GATE).verdict is Verdict.INCONCLUSIVE


def test_errors_of_a_tool_never_count_as_failures_nor_as_passes():
    found = judged(report([1] * 90, errors=10), None, GATE)

    assert found.verdict is Verdict.ERROR
    assert "10 of 100 scores are missing" in found.gates.rows[0].message


def test_a_release_that_got_worse_fails_against_its_baseline():
    found = judged(report([1] * 60 + [0] * 40), report([1] * 100), PAIRED)

    assert found.verdict is Verdict.FAIL
    assert found.gates.rows[0].difference == pytest.approx(-0.4)


def test_without_a_baseline_a_later_release_is_an_error_and_a_first_one_is_not():
    assert judged(report([1] * 100), None, PAIRED).verdict is Verdict.ERROR
    both = [*GATE, *PAIRED]
    assert judged(report([1] * 100), None, both, first_release=True).verdict is Verdict.PASS


def test_cases_that_one_run_lost_are_missing_and_not_left_out():
    found = judged(report([1] * 100), report([1] * 80), PAIRED)

    assert found.verdict is Verdict.ERROR


def test_a_baseline_of_another_version_of_the_tool_is_refused():
    with pytest.raises(GateRefusedError, match="metrics: "):
        judged(report([1] * 100), report([1] * 100, version="2"), PAIRED)


def test_a_baseline_that_asks_something_else_is_refused():
    with pytest.raises(GateRefusedError, match="case 'case-000' of promptfoo asks 'q 0' in one run and 'question 0'"):
        judged(report([1] * 100), report([1] * 100, asks="q"), PAIRED)


def test_a_run_with_a_problem_is_an_error_whatever_its_scores():
    broken = FindingReport("promptfoo", "1", report([1] * 100).findings, ("it timed out",))

    found = judged(broken, None, GATE)
    assert (found.verdict, found.gates) == (Verdict.ERROR, None)
    assert judged(report([1] * 100), broken, PAIRED).report.problems == ("baseline: it timed out",)


def test_a_gate_on_a_metric_that_was_not_scored_names_those_that_were():
    with pytest.raises(UsageError, match=r"unknown metric 'promptfoo\.facts'; did you mean"):
        judged(report([1] * 100), None, parse_gates([{"metric": "promptfoo.facts", "min": 0.5}]))


def test_a_gate_that_so_few_cases_cannot_decide_is_refused():
    with pytest.raises(UsageError, match=r"promptfoo\.pass"):
        judged(report([1] * 3), None, GATE)


def test_gates_on_other_tools_are_left_to_them():
    found = judged(report([1, 0]), None, parse_gates([{"metric": "ragas.faithfulness", "min": 0.5}]))

    assert (found.verdict, found.gates) == (Verdict.FAIL, None)


def test_means_and_metrics_of_which_less_is_better_are_judged_as_such():
    metrics = tool_metrics([scores([0.2, 0.9]), scores([3.0, 1.0], suite="lm_eval", metric="ter", higher=False)])

    faithful, ter = metrics["ragas.faithfulness"], metrics["lm_eval.ter"]
    assert (faithful.kind, faithful.direction, faithful.bounded) == ("mean", "higher", True)
    assert (ter.kind, ter.direction, ter.bounded) == ("mean", "lower", False)
    found = judged(scores([0.9, 0.8] * 50), None, parse_gates([{"metric": "ragas.faithfulness", "min": 0.6}]))
    assert found.verdict is Verdict.PASS


def test_scores_without_any_limit_are_no_verdict_but_a_hint():
    found = judged(scores([3.0], suite="lm_eval", metric="ter", higher=False), None, ())

    assert found.verdict is Verdict.NO_DATA
    assert found.note == "1 scores have no limit; write gates on lm_eval.ter"


def test_a_repeat_beyond_reason_is_refused():
    one = Place("promptfoo", "a", repeat=10**9).finding(Verdict.PASS)

    with pytest.raises(UsageError, match="at most 1000"):
        judged(FindingReport("promptfoo", "", (*report([1] * 99).findings, one)), None, GATE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("promptfoo.pass", True),
        ("lm_eval.exact_match", True),
        ("promptfoo.", False),
        ("correct", False),
        ("python:promptfoo.pass:x", False),
    ],
)
def test_a_tools_metric_is_known_by_its_first_word(name, expected):
    assert is_tool_metric(name) is expected


def test_one_impossible_score_does_not_make_a_gate_pass():
    rows = [{"id": str(place), "faithfulness": 1.4 if place == 7 else 0.9} for place in range(20)]

    found = judged(parse(json.dumps(rows).encode()), None, parse_gates([{"metric": "ragas.faithfulness", "min": 0.85}]))

    assert found.verdict is Verdict.ERROR


def test_a_baseline_that_judged_none_of_the_cases_is_refused_with_a_case_of_each():
    other = FindingReport("promptfoo", "1", tuple(Place("promptfoo", f"other-{n}").finding(Verdict.PASS) for n in "ab"))

    with pytest.raises(GateRefusedError, match=r"no case of promptfoo is in both runs: one has 'case-000'.*'other-a'"):
        judged(report([1] * 60), other, PAIRED)
