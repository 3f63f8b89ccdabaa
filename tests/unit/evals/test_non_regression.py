import random

import pytest

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.gate_spec import parse_gates
from shipway.evals.gates import GateOptions, check_gates, evaluate_gates, judge_scores
from shipway.evals.sample import score_table

FAST = GateOptions(permutations=400)


def judge(candidate, baseline, *specs, options=FAST):
    entries = specs or ({"metric": "correct", "non_regression": "auto"},)
    return evaluate_gates(parse_gates(entries), candidate, baseline, options)


def decide(candidate, baseline, spec=None):
    """Judge scores by a gate that would be refused when it is written."""
    gates = parse_gates([spec or {"metric": "correct", "non_regression": "auto"}])
    tables = [score_table(run, [gate.metric for gate in gates]) for run in (candidate, baseline)]
    return judge_scores(gates, candidate.dataset, (tables[0], tables[1]), FAST)


def test_an_unchanged_release_passes_and_a_ruined_one_fails(run_of):
    good, ruined = run_of([1.0] * 80), run_of([0.0, 1.0] * 40)
    assert judge(good, good).verdict is Verdict.PASS
    (row,) = judge(ruined, good).rows
    assert row.verdict is Verdict.FAIL
    assert (row.value, row.baseline_value, row.difference) == (0.5, 1.0, -0.5)
    assert row.adjusted_p < 0.05


def test_a_drop_that_is_neither_shown_nor_ruled_out_is_inconclusive_with_the_cases_needed(run_of):
    (row,) = judge(run_of([0.0] * 6 + [1.0] * 54), run_of([1.0] * 59 + [0.0])).rows
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.n_needed > 60
    assert row.message == (
        f"a drop of {-row.limit:.3g} is neither shown nor ruled out;"
        f" {row.n_needed - 60} more cases would decide at this effect"
    )
    assert (row.needed.cases, row.needed.repeats, row.needed.repeats_unknown) == (row.n_needed, None, True)


def test_a_drop_over_two_points_is_a_warning_even_when_the_gate_passes(run_of):
    report = judge(run_of([0.0] * 6 + [1.0] * 194), run_of([1.0] * 200))
    assert report.verdict is Verdict.PASS
    assert report.warnings == ("correct: worse than the baseline by 3.0 points",)


def test_a_drop_under_two_points_or_a_gain_is_no_warning(run_of):
    assert judge(run_of([0.0] * 3 + [1.0] * 197), run_of([1.0] * 200)).warnings == ()
    assert judge(run_of([1.0] * 200), run_of([0.0] * 100 + [1.0] * 100)).warnings == ()


def test_a_drop_is_warned_about_for_threshold_gates_too(run_of):
    report = judge(run_of([0.0] * 6 + [1.0] * 194), run_of([1.0] * 200), {"metric": "correct", "min": 0.5})
    assert report.warnings == ("correct: worse than the baseline by 3.0 points",)


def test_less_is_better_where_the_metric_says_so(run_of):
    slow = run_of([200.0 + i % 3 for i in range(40)], metric="latency_ms")
    fast = run_of([100.0 + i % 5 for i in range(40)], metric="latency_ms")
    spec = {"metric": "latency_ms", "non_regression": 10}
    assert judge(fast, slow, spec).verdict is Verdict.PASS
    report = judge(slow, fast, spec)
    assert report.verdict is Verdict.FAIL
    assert report.rows[0].difference == pytest.approx(-99.0, abs=1)
    assert report.warnings[0].startswith("latency_ms: worse than the baseline by 9")


def test_an_automatic_drop_of_a_metric_without_a_scale_is_a_tenth_of_the_baseline(run_of):
    free = run_of([0.0] * 30, metric="cost_usd")
    priced = run_of([0.5] * 30, metric="cost_usd")
    spec = {"metric": "cost_usd", "non_regression": "auto"}
    assert judge(free, free, spec).verdict is Verdict.PASS
    assert judge(priced, priced, spec).rows[0].limit == pytest.approx(-0.05)
    assert judge(priced, free, spec).verdict is Verdict.FAIL
    assert judge(priced, free, spec).warnings


def test_an_unsteady_candidate_does_not_widen_its_own_limit(run_of):
    rng = random.Random(5)
    before = run_of([100.0] * 40, metric="latency_ms")
    steady = run_of([115.0] * 40, metric="latency_ms")
    unsteady = run_of([rng.gauss(115.0, 120.0) for _ in range(40)], metric="latency_ms")
    spec = {"metric": "latency_ms", "non_regression": "auto"}
    rows = [judge(run, before, spec).rows[0] for run in (steady, unsteady)]
    assert [row.limit for row in rows] == [-10.0, -10.0]
    assert [row.verdict for row in rows] == [Verdict.FAIL, Verdict.INCONCLUSIVE]


def test_a_candidate_that_answers_fewer_cases_does_not_widen_its_own_limit(run_of):
    baseline = run_of([1.0] * 80, metric="supported")
    spec = {"metric": "supported", "non_regression": "auto"}
    rows = [
        judge(run_of([1.0] * kept + [None] * (80 - kept), metric="supported"), baseline, spec).rows[0]
        for kept in (80, 60, 30)
    ]
    assert len({row.limit for row in rows}) == 1
    assert [row.verdict for row in rows] == [Verdict.PASS, Verdict.PASS, Verdict.INCONCLUSIVE]


def test_cases_of_one_document_count_as_one_piece_of_evidence(run_of):
    baseline, worse = [1.0] * 40, [0.0] * 10 + [1.0] * 30
    alone = judge(run_of(worse), run_of(baseline)).rows[0]
    together = decide(run_of(worse, per_cluster=10), run_of(baseline, per_cluster=10)).rows[0]
    assert alone.verdict is Verdict.FAIL
    assert together.verdict is Verdict.INCONCLUSIVE
    assert together.p_value > alone.p_value


def test_one_document_alone_never_passes(run_of):
    run = run_of([1.0] * 50, per_cluster=50)
    assert decide(run, run).verdict is Verdict.INCONCLUSIVE
    for delta in (0.2, "auto"):
        with pytest.raises(UsageError, match="share one cluster, which shows none"):
            judge(run, run, {"metric": "correct", "non_regression": delta})


def test_a_handful_of_cases_never_passes_by_an_automatic_delta(run_of):
    run = run_of([1.0] * 5)
    (row,) = decide(run, run).rows
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.message == "5 paired cases in 5 clusters cannot rule out a drop of 0.25"


def test_the_smallest_delta_that_is_printed_is_accepted(run_of):
    dataset = run_of([1.0] * 80).dataset
    check_gates(parse_gates([{"metric": "correct", "non_regression": 0.089}]), dataset)
    with pytest.raises(UsageError, match=r"it can see 0\.089"):
        check_gates(parse_gates([{"metric": "correct", "non_regression": 0.087}]), dataset)


def test_fewer_pairs_than_the_delta_was_written_for_cannot_pass(run_of):
    run = run_of([1.0] * 8 + [None] * 92, metric="supported")
    (row,) = judge(run, run, {"metric": "supported", "non_regression": 0.1}).rows
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.message == "8 paired cases in 8 clusters cannot rule out a drop of 0.1"


def test_cases_scored_in_one_run_only_are_left_out_and_counted(run_of):
    candidate = run_of([1.0] * 60 + [None] * 20, metric="supported")
    baseline = run_of([1.0] * 80, metric="supported")
    (row,) = judge(candidate, baseline, {"metric": "supported", "non_regression": "auto"}).rows
    assert (row.n, row.verdict) == (60, Verdict.PASS)
    assert row.message.endswith("20 cases scored in one run only are left out")


def test_a_run_without_a_common_case_has_no_data(run_of):
    candidate = run_of([1.0] * 10 + [None] * 10, metric="supported")
    baseline = run_of([None] * 10 + [1.0] * 10, metric="supported")
    assert judge(candidate, baseline, {"metric": "supported", "non_regression": "auto"}).verdict is Verdict.NO_DATA


def test_missing_scores_of_the_baseline_are_an_error_too(run_of):
    (row,) = judge(run_of([1.0] * 80), run_of([1.0] * 70 + ["engine died"] * 10)).rows
    assert row.verdict is Verdict.ERROR
    assert row.message == "baseline: 10 of 80 scores are missing; first: c0070: engine died"


def test_looking_at_more_gates_asks_more_of_each(run_of):
    worse, good = run_of([0.0] * 8 + [1.0] * 52, tags=(("a", "b", "c"),)), run_of([1.0] * 60, tags=(("a", "b", "c"),))
    specs = [{"metric": "correct", "non_regression": "auto", "tags": [tag]} for tag in "abc"]
    alone = judge(worse, good, specs[0]).rows[0]
    among = judge(worse, good, *specs).rows[0]
    assert alone.adjusted_p == alone.p_value
    assert among.adjusted_p == pytest.approx(3 * alone.p_value)


def noisy(rng, rates, repeats):
    return [[float(rng.random() < rate) for _ in range(repeats)] for rate in rates]


def test_two_runs_of_the_same_release_are_seldom_blocked(run_of):
    rng = random.Random(11)
    rates = [rng.betavariate(3, 1) for _ in range(40)]
    runs = 150
    reports = [
        judge(
            run_of(noisy(rng, rates, 2), per_cluster=2),
            run_of(noisy(rng, rates, 2), per_cluster=2),
            options=GateOptions(permutations=400, seed=seed),
        )
        for seed in range(runs)
    ]
    # Nominal 5 %; 15 of 150 blocks have probability 0.008 at that rate. "Drop over 2 points" warns far more often.
    assert sum(report.verdict is Verdict.FAIL for report in reports) <= 14
    assert sum(bool(report.warnings) for report in reports) > 30


def test_a_drop_of_the_visible_size_is_seldom_passed(run_of):
    rng = random.Random(12)
    baseline, candidate = [0.9] * 60, [0.77] * 60
    verdicts = [judge(run_of(noisy(rng, candidate, 3)), run_of(noisy(rng, baseline, 3))).verdict for _ in range(100)]
    assert verdicts.count(Verdict.PASS) <= 12


RELATIVE = {"metric": "latency_ms", "non_regression": 0.1, "mode": "relative"}


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "PASS"), (1.05, "PASS"), (1.2, "FAIL")])
def test_a_relative_drop_is_a_share_of_the_baseline(run_of, factor, verdict):
    # Cases differ tenfold, so that an absolute margin would see nothing: each case is compared with its own share.
    before = [100.0 * (1 + index % 10) for index in range(60)]
    after = [value * factor + index % 3 for index, value in enumerate(before)]
    (row,) = judge(run_of(after, metric="latency_ms"), run_of(before, metric="latency_ms"), RELATIVE).rows
    assert row.verdict == verdict
    assert row.limit == pytest.approx(-0.1 * 550)
    assert (row.bound > row.limit) is (verdict == "PASS")


def test_two_percent_of_nothing_is_nothing(run_of):
    free, priced = (run_of([price] * 30, metric="cost_usd") for price in (0.0, 0.5))
    spec = {"metric": "cost_usd", "non_regression": 0.02, "mode": "relative"}
    assert judge(priced, free, spec).verdict is Verdict.FAIL
    assert judge(priced, priced, spec).verdict is Verdict.PASS


def test_a_relative_drop_that_too_few_cases_cannot_rule_out_stays_open(run_of):
    run = run_of([1.0] * 40 + [None] * 40, metric="supported")
    (row,) = judge(run, run, {"metric": "supported", "non_regression": 0.09, "mode": "relative"}).rows
    assert row.verdict is Verdict.PASS
    few = run_of([1.0] * 8 + [None] * 72, metric="supported")
    assert (
        judge(few, few, {"metric": "supported", "non_regression": 0.09, "mode": "relative"}).verdict == "INCONCLUSIVE"
    )


def test_more_repeats_are_offered_where_repeats_of_a_case_differ(run_of):
    rng = random.Random(3)
    arms = [run_of(noisy(rng, [0.6] * 60, 2)) for _ in range(2)]
    row = judge(*arms, {"metric": "correct", "non_regression": 0.125}).rows[0]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.needed.repeats > 2
    assert f"{row.n_needed - 60} more cases, or " in row.message
    assert row.message.endswith("would decide at this effect")
    enough = [run_of(noisy(rng, [0.6] * 60, row.needed.repeats + 4)) for _ in range(2)]
    assert judge(*enough, {"metric": "correct", "non_regression": 0.125}).verdict is Verdict.PASS


def test_identical_repeats_offer_cases_alone(run_of):
    before, after = run_of([[1.0] * 3] * 60), run_of([[0.0] * 3] * 6 + [[1.0] * 3] * 54)
    (row,) = judge(after, before).rows
    assert (row.verdict, row.needed.repeats, row.needed.repeats_unknown) == (Verdict.INCONCLUSIVE, None, False)
    assert "repeat" not in row.message


def test_a_drop_at_the_limit_is_decided_by_no_number_of_cases(run_of):
    before, after = run_of([1.0] * 61), run_of([0.0] * 8 + [1.0] * 53)
    (row,) = judge(after, before, {"metric": "correct", "non_regression": 0.1312}).rows
    assert row.difference == pytest.approx(-0.13115, abs=1e-5)
    assert (row.verdict, row.n_needed) == (Verdict.INCONCLUSIVE, None)
    assert "no number of cases or repeats decides it at this effect" in row.message


def test_the_standard_deviation_of_the_differences_is_kept_for_later_gates(run_of):
    (row,) = judge(run_of([0.0] * 6 + [1.0] * 54), run_of([1.0] * 60)).rows
    assert row.sd == pytest.approx(0.3025, abs=1e-3)
