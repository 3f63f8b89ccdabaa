import dataclasses

import pytest

from shipway.core.errors import GateRefusedError, UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.gate_spec import ThresholdGate, ZeroToleranceGate, parse_gates
from shipway.evals.gates import (
    GateOptions,
    LookPlan,
    check_gates,
    evaluate_gates,
    judge_scores,
    locked_rows,
    next_look,
)
from shipway.evals.model import Dataset
from shipway.evals.sample import score_table

FIRST = GateOptions(first_release=True)
NON_REGRESSION = parse_gates([{"metric": "correct", "non_regression": "auto"}])


def judge(spec, run, baseline=None, options=FIRST):
    return evaluate_gates(parse_gates([spec]), run, baseline, options)


def decide(specs, run, baseline=None, options=FIRST):
    """Judge scores by gates that may be refused when they are written: fewer scores may come back than were asked."""
    tables = [None if one is None else score_table(one, [spec.metric for spec in specs]) for one in (run, baseline)]
    return judge_scores(specs, run.dataset, tuple(tables), options)


@pytest.mark.parametrize(
    ("passed", "n", "verdict"),
    [
        (96, 100, Verdict.PASS),
        (88, 100, Verdict.PASS),
        (85, 100, Verdict.INCONCLUSIVE),
        (75, 100, Verdict.INCONCLUSIVE),
        (70, 100, Verdict.FAIL),
        (14, 14, Verdict.PASS),
        (13, 14, Verdict.INCONCLUSIVE),
        (0, 14, Verdict.FAIL),
    ],
)
def test_a_threshold_is_compared_with_the_bound_and_not_with_the_score(run_of, passed, n, verdict):
    (row,) = judge({"metric": "correct", "min": 0.8}, run_of([1.0] * passed + [0.0] * (n - passed))).rows
    assert row.verdict is verdict
    assert row.value == pytest.approx(passed / n)


def test_an_inconclusive_threshold_says_how_many_cases_would_decide(run_of):
    (row,) = judge({"metric": "correct", "min": 0.8}, run_of([1.0] * 17 + [0.0] * 3)).rows
    assert row.n_needed is not None
    assert row.message == f"about {row.n_needed} cases would decide at this score"
    assert [
        judge({"metric": "correct", "min": 0.8}, run_of([1.0] * passed + [0.0] * (n - passed))).verdict
        for n in (row.n_needed - 40, row.n_needed)
        for passed in [int(0.85 * n + 1e-9)]
    ] == ["INCONCLUSIVE", "PASS"]


def test_a_score_below_the_limit_says_how_many_cases_would_show_it(run_of):
    (row,) = judge({"metric": "correct", "min": 0.8}, run_of([1.0] * 15 + [0.0] * 5)).rows
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.message == f"about {row.n_needed} cases would decide at this score"
    right = row.n_needed * 3 // 4
    found = judge({"metric": "correct", "min": 0.8}, run_of([1.0] * right + [0.0] * (row.n_needed - right)))
    assert found.verdict is Verdict.FAIL


@pytest.mark.parametrize("wrong", [3, 10, 20, 28])
def test_answers_that_are_all_wrong_say_how_many_more_of_them_would_fail(run_of, wrong):
    (row,) = decide(parse_gates([{"metric": "correct", "min": 0.1}]), run_of([0.0] * wrong)).rows
    assert (row.verdict, row.n_needed) == (Verdict.INCONCLUSIVE, 29)
    assert judge({"metric": "correct", "min": 0.1}, run_of([0.0] * 29)).verdict is Verdict.FAIL


def test_equal_scores_of_a_mean_say_how_many_cases_would_decide(run_of):
    gates = parse_gates([{"metric": "mrr", "min": 0.85}])
    (row,) = decide(gates, run_of([0.9] * 20, metric="mrr")).rows
    assert (row.verdict, row.message) == (
        Verdict.INCONCLUSIVE,
        f"about {row.n_needed} cases would decide at this score",
    )
    verdicts = [decide(gates, run_of([0.9] * n, metric="mrr")).verdict for n in (row.n_needed - 1, row.n_needed)]
    assert verdicts == ["INCONCLUSIVE", "PASS"]


def test_a_score_at_the_limit_is_decided_by_no_number_of_cases(run_of):
    (row,) = judge({"metric": "correct", "min": 0.75}, run_of([1.0] * 15 + [0.0] * 5)).rows
    assert (row.verdict, row.message) == (Verdict.INCONCLUSIVE, "no number of cases decides it at this score")


def test_scores_of_one_document_ask_for_other_documents(run_of):
    run = run_of([0.2, 0.9] * 10, metric="mrr", per_cluster=20)
    (row,) = decide(parse_gates([{"metric": "mrr", "min": 0.3}]), run).rows
    assert (row.verdict, row.message) == (Verdict.INCONCLUSIVE, "cases from other documents decide")


@pytest.mark.parametrize(("bad", "verdict"), [(0, "PASS"), (4, "INCONCLUSIVE"), (20, "FAIL")])
def test_a_maximum_is_compared_with_the_upper_bound(run_of, bad, verdict):
    run = run_of([1.0] * bad + [0.0] * (100 - bad), metric="wrong_refusal")
    assert judge({"metric": "wrong_refusal", "max": 0.05}, run).verdict == verdict


def test_repeats_do_not_count_as_cases(run_of):
    once, often = run_of([1.0] * 20), run_of([[1.0] * 8] * 20)
    (row_once,), (row_often,) = (judge({"metric": "correct", "min": 0.8}, run).rows for run in (once, often))
    assert row_once.bound == row_often.bound
    assert row_often.expected == 160


def test_the_cluster_robust_bound_is_lower_where_clusters_fail_together(run_of):
    run = run_of([1.0] * 140 + [0.0] * 10, per_cluster=10)
    (plain,), (robust,) = (
        judge({"metric": "correct", "min": 0.81, "cluster_robust": flag}, run).rows for flag in (False, True)
    )
    assert plain.verdict is Verdict.PASS
    assert robust.verdict is Verdict.INCONCLUSIVE
    assert robust.bound < plain.bound


def test_a_mean_uses_a_t_bound_over_clusters(run_of):
    spec = {"metric": "latency_ms", "max": 120}
    steady = run_of([100.0, 101.0, 99.0, 100.0] * 5, metric="latency_ms")
    wild = run_of([10.0, 190.0] * 10, metric="latency_ms")
    slow = run_of([140.0, 141.0, 139.0, 140.0] * 5, metric="latency_ms")
    assert [judge(spec, run).verdict for run in (steady, wild, slow)] == ["PASS", "INCONCLUSIVE", "FAIL"]


def test_equal_scores_do_not_pass_for_certainty(run_of):
    gates = parse_gates([{"metric": "recall_at_5", "min": 0.9}])
    verdicts = [
        decide(gates, run_of(scores, metric="recall_at_5")).verdict
        for scores in ([1.0] * 5, [1.0, 0.999] * 5, [1.0] * 40)
    ]
    assert verdicts == ["INCONCLUSIVE", "INCONCLUSIVE", "PASS"]


def test_a_quantile_needs_enough_cases_to_be_seen(run_of):
    spec = {"metric": "latency_ms", "max": 5000, "quantile": 0.99}
    few, many = (run_of([100.0] * n, metric="latency_ms") for n in (100, 299))
    slow = run_of([100.0] * 80 + [6000.0] * 20, metric="latency_ms")
    verdicts = [decide(parse_gates([spec]), run).verdict for run in (few, many, slow)]
    assert verdicts == ["INCONCLUSIVE", "PASS", "FAIL"]
    assert decide(parse_gates([spec]), few).rows[0].n_needed == 299
    with pytest.raises(UsageError, match=r"100 cases, all within the limit, show a share of 0\.970"):
        judge(spec, few)


def test_a_gate_by_tag_judges_only_the_cases_with_all_its_tags(run_of):
    run = run_of([1.0, 0.0] * 40, tags=(("pdf", "policy"), ("pdf",)))
    (policy,) = judge({"metric": "correct", "min": 0.5, "tags": ["pdf", "policy"]}, run).rows
    (pdf,) = judge({"metric": "correct", "min": 0.5, "tags": ["pdf"]}, run).rows
    assert (policy.n, policy.value, pdf.n, pdf.value) == (40, 1.0, 80, 0.5)


def test_calibration_cases_are_not_judged(run_of):
    run = run_of([0.0] + [1.0] * 20)
    cases = (dataclasses.replace(run.dataset.cases[0], split="calibration"), *run.dataset.cases[1:])
    dataset = Dataset("d", cases)
    run = dataclasses.replace(run, dataset=dataset, binding=dataclasses.replace(run.binding, dataset=dataset.digest))
    (row,) = judge({"metric": "correct", "min": 0.8}, run).rows
    assert (row.n, row.value, row.verdict) == (20, 1.0, Verdict.PASS)


@pytest.mark.parametrize(
    "spec", [{"metric": "correct", "min": 0.1}, {"metric": "correct", "non_regression": "auto"}], ids=str
)
def test_too_many_missing_scores_are_an_error_and_never_a_pass(run_of, spec):
    run, baseline = run_of([1.0] * 97 + ["timeout"] * 3), run_of([1.0] * 100)
    report = judge(spec, run, baseline, GateOptions())
    assert report.verdict is Verdict.ERROR
    assert "3 of 100 scores are missing; first: c0097: timeout" in report.rows[0].message
    assert not any("missing" in warning for warning in report.warnings)


def test_a_missing_score_within_the_limit_is_left_out_counted_and_warned_about(run_of):
    report = judge({"metric": "correct", "min": 0.8}, run_of([1.0] * 98 + ["timeout"] * 2))
    (row,) = report.rows
    assert (row.verdict, row.n, row.value, row.missing) == (Verdict.PASS, 98, 1.0, 2)
    assert report.warnings == ("correct: 2 of 100 scores are missing; first: c0098: timeout",)


def test_a_case_that_was_not_run_is_missing(run_of):
    run = run_of([1.0] * 20)
    cut = dataclasses.replace(run, results=run.results[:-1])
    (row,) = judge({"metric": "correct", "min": 0.8}, cut).rows
    assert row.verdict is Verdict.ERROR
    assert "c0019: was not run" in row.message


def test_a_metric_that_was_not_computed_is_missing(run_of):
    assert judge({"metric": "mrr", "min": 0.1}, run_of([1.0] * 20)).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    "spec",
    [
        {"metric": "supported", "min": 0.1},
        {"metric": "tenant_leak", "zero_tolerance": True},
        {"metric": "supported", "non_regression": "auto"},
        {"metric": "supported", "non_regression": 0.3},
    ],
    ids=str,
)
def test_a_gate_of_which_no_case_got_a_score_has_no_data(run_of, spec):
    run = run_of([None] * 20, metric=spec["metric"])
    assert judge(spec, run, run, GateOptions()).verdict is Verdict.NO_DATA


def test_no_gates_are_no_evidence(run_of):
    assert evaluate_gates([], run_of([1.0]), None, FIRST).verdict is Verdict.NO_DATA


@pytest.mark.parametrize(
    ("scores", "max_rate", "verdict"),
    [
        ([0.0] * 299, 0.01, "PASS"),
        ([0.0] * 298, 0.01, "INCONCLUSIVE"),
        ([0.0] * 5, None, "PASS"),
        ([0.0] * 1000 + [1.0], 0.01, "FAIL"),
        ([[0.0, 0.0], [0.0, 1.0]], None, "FAIL"),
        ([0.0] * 1000 + ["timeout"], None, "ERROR"),
        ([1.0] + ["timeout"] * 50, None, "FAIL"),
        ([None] * 10, None, "NO_DATA"),
    ],
)
def test_zero_tolerance_fails_on_one_and_passes_only_what_is_proven(run_of, scores, max_rate, verdict):
    gate = ZeroToleranceGate("tenant_leak", max_rate)
    assert decide([gate], run_of(scores, metric="tenant_leak")).verdict == verdict


def test_zero_tolerance_works_for_metrics_of_which_more_is_better(run_of):
    gate = ZeroToleranceGate("citation_resolves")
    runs = [run_of([1.0] * 9 + [last], metric="citation_resolves") for last in (1.0, 0.0)]
    assert [evaluate_gates([gate], run, None, FIRST).verdict for run in runs] == ["PASS", "FAIL"]


def test_zero_tolerance_states_the_rate_it_proves(run_of):
    (row,) = decide([ZeroToleranceGate("tenant_leak", 0.01)], run_of([0.0] * 100, metric="tenant_leak")).rows
    assert row.bound == pytest.approx(1 - 0.05 ** (1 / 100))
    assert row.message == (
        "none in 100 cases; the rate is below 2.951% with 95% confidence; 299 clean cases would prove it"
    )


def test_at_a_first_release_thresholds_decide_alone(run_of):
    specs = [ThresholdGate("correct", min=0.8), *NON_REGRESSION]
    report = evaluate_gates(specs, run_of([1.0] * 50), None, FIRST)
    assert [row.verdict for row in report.rows] == [Verdict.PASS, None]
    assert report.verdict is Verdict.PASS


def test_at_a_first_release_non_regression_alone_proves_nothing(run_of):
    assert evaluate_gates(NON_REGRESSION, run_of([1.0] * 50), None, FIRST).verdict is Verdict.NO_DATA


def test_a_later_release_without_a_baseline_is_an_error(run_of):
    report = evaluate_gates([ThresholdGate("correct", min=0.8), *NON_REGRESSION], run_of([1.0] * 50), None)
    assert report.verdict is Verdict.ERROR
    assert report.rows[1].message == "no baseline run; evaluate again with one: `shipway eval run REL --baseline REL`"


def test_runs_on_another_corpus_are_refused_unless_the_release_changes_it(run_of):
    candidate, baseline = run_of([1.0] * 50), run_of([1.0] * 50, corpus="old corpus")
    with pytest.raises(GateRefusedError, match="not comparable; corpus: "):
        evaluate_gates(NON_REGRESSION, candidate, baseline)
    report = evaluate_gates(NON_REGRESSION, candidate, baseline, GateOptions(expected_changes=frozenset({"corpus"})))
    assert report.verdict is Verdict.PASS
    assert report.warnings == ("corpus: candidate and baseline differ, as the release says",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"metric": "corect", "min": 0.8}, "unknown metric 'corect'; did you mean 'correct'?"),
        ({"metric": "correct", "max": 0.8}, "higher is better for correct; use min"),
        ({"metric": "wrong_refusal", "min": 0.8}, "lower is better for wrong_refusal; use max"),
        ({"metric": "latency_ms", "max": -1}, "latency_ms is never below 0, so no answer meets -1"),
        ({"metric": "correct", "min": 80}, "lies between 0 and 1; the limit 80 does not"),
        ({"metric": "correct", "min": 0.8, "quantile": 0.5}, "correct is a share, which has no quantile"),
        ({"metric": "latency_ms", "zero_tolerance": True}, "latency_ms is a mean; give it a threshold instead"),
        ({"metric": "correct", "non_regression": 0.02}, "80 cases cannot see a drop of 0.02; it can see 0.089"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_when_written_and_when_evaluated(run_of, spec, message):
    run = run_of([1.0] * 80)
    with pytest.raises(UsageError) as written:
        check_gates(parse_gates([spec]), run.dataset)
    assert message in str(written.value)
    with pytest.raises(UsageError):
        judge(spec, run)


def test_a_threshold_gate_needs_exactly_one_side(run_of):
    with pytest.raises(UsageError, match="set min or max"):
        check_gates([ThresholdGate("correct")], run_of([1.0]).dataset)


def test_every_row_has_an_interval_and_the_change_that_such_a_run_shows(run_of):
    run = run_of([1.0] * 45 + [0.0] * 5)
    specs = parse_gates(
        [{"metric": "correct", "min": 0.5, "reason": "half"}, {"metric": "correct", "non_regression": 0.2}]
    )
    threshold, paired = evaluate_gates(specs, run, run).rows
    assert threshold.interval[0] < threshold.value < threshold.interval[1]
    assert threshold.mde == pytest.approx(2.486 * 0.0429, rel=0.01)
    assert (threshold.reason, paired.reason) == ("half", "")
    assert paired.interval == (0.0, 0.0)
    assert paired.mde == pytest.approx(1 - 0.05 ** (1 / 50))


def test_each_of_several_looks_has_its_share_of_alpha(run_of):
    run = run_of([1.0] * 14)
    gates = parse_gates([{"metric": "correct", "min": 0.8}])
    once, thrice = (decide(gates, run, options=GateOptions(first_release=True, looks=looks)) for looks in (1, 3))
    assert [once.verdict, thrice.verdict] == ["PASS", "INCONCLUSIVE"]
    assert thrice.rows[0].bound == pytest.approx((0.05 / 3) ** (1 / 14))
    assert (thrice.rows[0].look, thrice.rows[0].looks) == (1, 3)
    with pytest.raises(UsageError, match=r"show at least 0\.746, which is not 0\.8"):
        check_gates(gates, run.dataset, looks=3)


def looked(run_of, repeats=2):
    """Return gates and a report of which one gate is decided and the other is not."""
    before = [[1.0] * repeats] * 60
    after = [[0.0] + [1.0] * (repeats - 1)] * 14 + [[1.0] * repeats] * 46
    gates = parse_gates([{"metric": "correct", "min": 0.5}, {"metric": "correct", "non_regression": 0.13}])
    options = GateOptions(looks=3)
    return gates, options, evaluate_gates(gates, run_of(after), run_of(before), options)


def test_the_next_look_is_taken_as_long_as_repeats_can_decide(run_of):
    _, _, report = looked(run_of)
    assert [row.verdict for row in report.rows] == ["PASS", "INCONCLUSIVE"]
    assert report.rows[1].needed.repeats > 2
    look = next_look(report, LookPlan(1, 3, 2))
    assert (look.number, look.repeats) == (2, 2)
    assert next_look(report, LookPlan(3, 3, 2)) is None
    assert next_look(report, LookPlan(1, 3, 2, sampling=False)) is None


def test_after_one_repeat_nobody_knows_whether_repeats_help_so_the_look_is_taken(run_of):
    report = evaluate_gates(
        parse_gates([{"metric": "correct", "non_regression": 0.16}]),
        run_of([0.0] * 6 + [1.0] * 54),
        run_of([1.0] * 60),
        GateOptions(looks=2),
    )
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.rows[0].needed.repeats is None
    assert next_look(report, LookPlan(1, 2, 2)) is not None


def test_no_look_is_taken_when_repeats_are_copies_or_the_verdict_stands(run_of):
    copies = run_of([[0.0] * 3] * 6 + [[1.0] * 3] * 54)
    gates = parse_gates([{"metric": "correct", "non_regression": 0.16}])
    report = evaluate_gates(gates, copies, run_of([[1.0] * 3] * 60), GateOptions(looks=2))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert next_look(report, LookPlan(1, 2, 2)) is None
    failed = evaluate_gates(gates, run_of([0.0] * 60), run_of([1.0] * 60), GateOptions(looks=2))
    assert next_look(failed, LookPlan(1, 2, 2)) is None


def test_what_a_look_decided_stays_decided(run_of):
    gates, options, report = looked(run_of)
    locked = locked_rows(report)
    assert [row.gate for row in locked.values()] == ["correct >= 0.5"]
    ruined = run_of([[0.0, 0.0]] * 60)
    second = evaluate_gates(gates, ruined, ruined, dataclasses.replace(options, look=2, locked=locked))
    assert [(row.verdict, row.look) for row in second.rows] == [(Verdict.PASS, 1), (Verdict.PASS, 2)]


def test_a_judge_that_drifted_makes_the_verdict_an_error(run_of):
    run = run_of([1.0] * 50)
    options = GateOptions(first_release=True, judge_drift="9 of 40 anchors are judged differently")
    report = judge({"metric": "correct", "min": 0.5}, run, None, options)
    assert (report.rows[-1].kind, report.verdict) == ("judge", Verdict.ERROR)
    assert report.rows[-1].message == "9 of 40 anchors are judged differently"
