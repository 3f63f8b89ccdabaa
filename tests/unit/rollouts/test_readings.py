"""What the counts say of each metric: figures, shares of alpha, and what is not judged and why."""

from dataclasses import replace

import pytest
from tests.unit.rollouts.folds import EMPTY, observation, served, stored

from shipway.core.observation import JUDGED_PAIR, PAIR, StoredObservation
from shipway.core.verdicts import Verdict
from shipway.rollouts.analysis import judge
from shipway.rollouts.baseline import Baseline, Figures
from shipway.rollouts.folding import fold, fold_observations
from shipway.rollouts.measuring import measures_of
from shipway.rollouts.metrics import BAD, Metric
from shipway.rollouts.model import Code
from shipway.rollouts.plan import Plan, Step
from shipway.rollouts.readings import combined_e, metric_readings
from shipway.rollouts.rules import Rule, Rules

KNOWN = Figures(
    requests=1000,
    conversations=1000,
    bad_conversations=10,
    bad_rate=0.01,
    error_rate=0.01,
    latency_ms=(10.0, 90.0, 100.0, 500.0),
    ttft_ms=(1.0, 9.0, 10.0, 50.0),
    cost_p95_usd=0.01,
    quality=0.9,
)
BASELINE = Baseline("rel", 0.0, 1000.0, KNOWN, (("ask", KNOWN),))
PLAN = Plan(steps=(Step(0.5, 20, 5.0), Step(1.0, 10, 5.0)))
SHADOW = replace(PLAN, strategy="shadow", steps=(Step(0.0, shadow=0.5, min_pairs=50), Step(1.0, traffic=False)))


def evidence_of(*records, plan=PLAN, baseline=BASELINE):
    start = replace(EMPTY, baseline=baseline)
    measures = measures_of(plan.metrics, plan.rules, baseline)
    return fold(start, stored(records), rollout="ro", bad_events=plan.events, measures=measures)


def reading(name, *records, plan=PLAN, baseline=BASELINE):
    found = metric_readings(evidence_of(*records, plan=plan, baseline=baseline), plan)
    return next(item for item in found if item.name == name)


def both(count, candidate, stable):
    """Serve conversations of both arms in turn, with fields of their own."""
    return [served(f"c{n}", candidate=n % 2 == 0, **(stable if n % 2 else candidate)) for n in range(2 * count)]


def test_every_metric_has_a_reading_also_without_anything_to_judge_by():
    found = metric_readings(evidence_of(baseline=None), PLAN)
    assert [item.name for item in found] == [BAD, *(metric.name for metric in PLAN.metrics)]
    unjudged = {item.name: item.text for item in found if not item.judged}
    assert unjudged["latency"] == "stable's latency_ms before the rollout is not known"
    assert unjudged["pairs"] == "pairs: the plan copies no requests"
    assert unjudged["alone"] == "alone: stable's bad conversations are not known"
    assert sum(item.share for item in found) == pytest.approx(1.0)
    assert combined_e(found) <= 1.0


def test_without_a_baseline_the_part_of_what_needs_one_goes_to_the_bad_conversations():
    assert reading(BAD, baseline=None).share == pytest.approx(0.85)
    assert reading(BAD).share == pytest.approx(0.73)
    free = replace(BASELINE, total=replace(KNOWN, cost_p95_usd=0.0))
    assert reading("cost", baseline=free).share == 0.0


def test_a_candidate_that_is_much_slower_fails_by_latency_alone():
    slow = both(60, {"latency_ms": 300.0}, {"latency_ms": 20.0})
    found = reading("latency", *slow)
    assert found.e_value >= found.needed
    judgement = judge(evidence_of(*slow), PLAN, 0, elapsed_s=1.0)
    assert (judgement.verdict, judgement.code) == (Verdict.FAIL, Code.HARM)
    assert "latency_ms over stable's 95% quantile of before (100 ms on ask)" in judgement.reasons[0]
    assert "in 60 of 60 conversations on the candidate, 0 of 60 on stable" in judgement.reasons[0]


def test_a_slow_day_of_both_arms_says_nothing():
    assert reading("latency", *both(100, {"latency_ms": 300.0}, {"latency_ms": 300.0})).e_value < 1.0


def spread(n, base):
    return base * (1.0 + 0.3 * (n % 7))


def test_twice_the_tokens_are_harm_and_a_fifth_more_is_not():
    def tokens(factor):
        return [
            served(f"c{n}", candidate=n % 2 == 0, tokens_out=int(spread(n // 2, 100) * (factor if n % 2 == 0 else 1)))
            for n in range(400)
        ]

    doubled = reading("tokens", *tokens(2.2))
    assert doubled.e_value >= doubled.needed
    assert "tokens_out changed by +120%" in doubled.text
    assert reading("tokens", *tokens(1.2)).e_value < 1.0
    assert not reading("tokens", *tokens(2.2)[:40]).judged


def paired(values, plan=SHADOW):
    measures = measures_of(plan.metrics, plan.rules, BASELINE)
    pairs = [
        StoredObservation(number, observation(PAIR, f"p{number}", value, weight=0.0, candidate=True))
        for number, value in enumerate(values, 1)
    ]
    return fold_observations(replace(EMPTY, baseline=BASELINE), pairs, rollout="ro", measures=measures)


def test_shadow_pairs_decide_a_step_without_users():
    worse = judge(paired([-1.0, 0.0, 0.0, 0.0] * 40), SHADOW, 0, elapsed_s=1.0)
    assert (worse.verdict, worse.code) == (Verdict.FAIL, Code.HARM)
    assert "the candidate is -0.250 apart from stable in 160 pairs" in worse.reasons[0]
    equal = judge(paired([0.0] * 200), SHADOW, 0, elapsed_s=1.0)
    assert (equal.verdict, equal.reasons) == (
        Verdict.PASS,
        ("200 pairs are enough and show no harm (mean differences: pairs +0.000)",),
    )
    few = judge(paired([0.0] * 20), SHADOW, 0, elapsed_s=1.0)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert few.reasons[0] == "20 of 50 pairs"
    assert judge(replace(EMPTY, baseline=BASELINE), SHADOW, 0, elapsed_s=1.0).verdict is Verdict.NO_DATA


def test_where_the_arms_are_never_compared_pairs_and_everybody_share_alpha():
    shares = {item.name: item.share for item in metric_readings(paired([0.0]), SHADOW)}
    assert shares[BAD] == 0.0
    found = [shares[name] for name in ("pairs", "judged_pairs", "alone")]
    assert found == [pytest.approx(10 / 18), pytest.approx(5 / 18), pytest.approx(3 / 18)]


def test_pairs_that_a_judge_compared_must_show_no_harm_as_well_and_others_releases_count_for_nothing():
    measures = measures_of(SHADOW.metrics, SHADOW.rules, BASELINE)

    def judged_by(values, release="rel_new"):
        pairs = [
            StoredObservation(number, replace(observation(kind, f"p{number}", value, weight=0.0), release=release))
            for number, (kind, value) in enumerate(values, 1)
        ]
        start = replace(EMPTY, baseline=BASELINE)
        found = fold_observations(start, pairs, rollout="ro", measures=measures, candidate="rel_new")
        return judge(found, SHADOW, 0, elapsed_s=1.0)

    equal = [(PAIR, 0.0)] * 200
    assert judged_by(equal).verdict is Verdict.PASS
    assert judged_by(equal + [(JUDGED_PAIR, -0.02)] * 60).verdict is Verdict.INCONCLUSIVE
    assert judged_by(equal + [(JUDGED_PAIR, -0.3)] * 200).verdict is Verdict.FAIL
    assert judged_by(equal + [(JUDGED_PAIR, 0.0)] * 200).verdict is Verdict.PASS
    assert judged_by(equal, release="rel_else").verdict is Verdict.NO_DATA


def test_with_everybody_on_the_candidate_its_own_rate_is_watched():
    switch = replace(PLAN, strategy="blue-green", steps=(Step(0.0, traffic=False), Step(1.0, traffic=False)))
    bad = [served(f"c{n}", candidate=True, weight=1.0, events=("error",) if n % 4 == 0 else ()) for n in range(80)]
    judgement = judge(evidence_of(*bad, plan=switch), switch, 1, elapsed_s=1.0)
    assert (judgement.verdict, judgement.code) == (Verdict.FAIL, Code.HARM)
    assert "20 of 80 conversations turned bad with everybody on the candidate" in judgement.reasons[0]
    good = [served(f"c{n}", candidate=True, weight=1.0) for n in range(80)]
    assert judge(evidence_of(*good, plan=switch), switch, 1, elapsed_s=1.0).verdict is Verdict.PASS


def test_metrics_that_are_each_not_enough_may_be_enough_together():
    plan = replace(
        PLAN,
        alpha=0.05,
        metrics=(Metric("x", "event", 0.45, events=("x",)), Metric("y", "event", 0.45, events=("y",))),
    )
    records = both(4, {"events": ("x", "y")}, {})
    found = metric_readings(evidence_of(*records, plan=plan), plan)
    x, y = found[1], found[2]
    assert max(x.e_value, y.e_value) < x.needed
    more = replace(plan, alpha=1.0 / (x.e_value * 0.9))
    judgement = judge(evidence_of(*records, plan=more), more, 0, elapsed_s=1.0)
    assert (judgement.verdict, judgement.code) == (Verdict.FAIL, Code.HARM)
    assert judgement.reasons[0].startswith("together x: x in 4 of 4 conversations on the candidate")


def test_a_broken_rule_rolls_back_pauses_or_is_only_told():
    slow = [served(f"s{n}", candidate=True, latency_ms=6000.0, at_s=10.0) for n in range(100)]
    quick = replace(BASELINE, routes=())
    rolled = judge(evidence_of(*slow, baseline=quick), PLAN, 0, elapsed_s=1.0)
    assert (rolled.verdict, rolled.code) == (Verdict.FAIL, Code.GUARDRAIL)
    assert rolled.reasons[0].startswith("p99_ms: 100 of 100 requests took over 5000 ms within 300 s")
    for action, verdict, code in (("pause", Verdict.INCONCLUSIVE, Code.RULE), ("warn", Verdict.INCONCLUSIVE, None)):
        plan = replace(PLAN, rules=Rules(p99_ms=Rule(5000.0, 300.0, 100, action)))
        found = judge(evidence_of(*slow, plan=plan, baseline=quick), plan, 0, elapsed_s=1.0)
        assert found.verdict is verdict
        assert code is None or found.code is code
        assert [item.name for item in found.rules if item.broken] == ["p99_ms"]


def test_a_pause_by_a_rule_ends_when_a_user_says_so():
    plan = replace(PLAN, rules=Rules(p99_ms=Rule(5000.0, 300.0, 100, "pause")))
    slow = [
        served(f"s{n}", candidate=n % 2 == 0, latency_ms=6000.0 * (n % 2 == 0) + 1.0, at_s=10.0) for n in range(240)
    ]
    evidence = evidence_of(*slow, plan=plan, baseline=None)
    assert judge(evidence, plan, 0, elapsed_s=1.0).code is Code.RULE
    assert judge(evidence, plan, 0, elapsed_s=1.0, acknowledged=[Code.RULE]).code is not Code.RULE


def test_an_old_breach_is_over_after_its_window():
    slow = [served(f"s{n}", candidate=True, latency_ms=6000.0, at_s=10.0) for n in range(100)]
    evidence = evidence_of(*slow, baseline=replace(BASELINE, routes=()))
    assert judge(evidence, PLAN, 0, elapsed_s=1.0, now_s=1000.0).code is not Code.GUARDRAIL


@pytest.mark.parametrize(("candidate", "rolled_back"), [(6, False), (15, True)])
def test_the_guardrail_needs_a_candidate_that_is_surely_worse_than_stable(candidate, rolled_back):
    stable = [served(f"s{n}", status=500 if n < 18 else 200) for n in range(900)]
    asked = [served(f"c{n}", candidate=True, status=500 if n < candidate else 200) for n in range(100)]
    plan = replace(PLAN, rules=Rules.off())
    judgement = judge(evidence_of(*stable, *asked, plan=plan), plan, 0, elapsed_s=1.0)
    assert (judgement.code is Code.GUARDRAIL) is rolled_back


def test_one_conversation_that_fails_over_and_over_breaks_no_guardrail():
    stable = [served(f"s{n}") for n in range(100)]
    heavy = [served("h", candidate=True, status=500)] * 60
    asked = [served(f"c{n}", candidate=True) for n in range(60)]
    judgement = judge(evidence_of(*stable, *heavy, *asked), PLAN, 0, elapsed_s=1.0)
    assert judgement.code is not Code.GUARDRAIL
