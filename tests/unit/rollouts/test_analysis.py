"""What the evidence says about a step."""

from dataclasses import replace

import pytest
from tests.unit.rollouts.folds import EMPTY, folded, served

from shipway.core.verdicts import Verdict
from shipway.rollouts.analysis import judge
from shipway.rollouts.model import Code
from shipway.rollouts.plan import Guardrails, Plan, Step

PLAN = Plan(steps=(Step(0.1, 20, 5.0), Step(0.5, 20, 5.0), Step(1.0, 10, 5.0)))


def test_no_records_are_no_data():
    judgement = judge(EMPTY, PLAN, 0, elapsed_s=1e9)
    assert (judgement.verdict, judgement.code) == (Verdict.NO_DATA, Code.NO_DATA)
    assert judge(EMPTY, PLAN, -1, elapsed_s=0.0).verdict is Verdict.NO_DATA


def test_a_step_passes_only_with_conversations_time_and_a_candidate_seen():
    many = [served(f"c{n}", weight=0.1, candidate=n < 2) for n in range(20)]
    assert judge(folded(*many), PLAN, 0, elapsed_s=5.0).verdict is Verdict.PASS
    assert "19 of 20 conversations" in judge(folded(*many[:19]), PLAN, 0, elapsed_s=5.0).reasons
    assert "4 of 5 s" in judge(folded(*many), PLAN, 0, elapsed_s=4.0).reasons
    alone = [served(f"c{n}", weight=0.1) for n in range(20)]
    assert judge(folded(*alone), PLAN, 0, elapsed_s=5.0).reasons == ("the candidate has not had a conversation",)


def test_the_last_step_before_everybody_waits_until_harm_is_ruled_out():
    quiet = [served(f"c{n}", candidate=n % 2 == 0) for n in range(60)]
    waiting = judge(folded(*quiet), PLAN, 1, elapsed_s=60.0)
    assert (waiting.verdict, waiting.code) == (Verdict.INCONCLUSIVE, Code.WAITING)
    assert waiting.events_needed == 26
    # The candidate has had 30 of the 79 good conversations, one every two seconds.
    assert waiting.eta_s == pytest.approx(98.0)
    relative = judge(folded(*quiet), replace(PLAN, harmless_rate=None), 1, elapsed_s=60.0)
    assert (relative.events_needed, relative.eta_s) == (21, None)
    eventful = [served(f"c{n}", candidate=n % 2 == 0, events=("abstained",)) for n in range(60)]
    assert judge(folded(*eventful[:10]), PLAN, 1, elapsed_s=60.0).eta_s == pytest.approx(91.0, abs=60.0)
    assert judge(folded(*eventful), PLAN, 1, elapsed_s=60.0).verdict is Verdict.PASS


def quiet(count):
    return [served(f"q{n}", candidate=n % 2 == 0) for n in range(2 * count)]


def test_a_service_without_bad_conversations_passes_after_79_of_the_candidates():
    assert judge(folded(*quiet(78)), PLAN, 1, elapsed_s=60.0).verdict is Verdict.INCONCLUSIVE
    assert judge(folded(*quiet(79)), PLAN, 1, elapsed_s=60.0).verdict is Verdict.PASS
    relative = judge(folded(*quiet(1000)), replace(PLAN, harmless_rate=None), 1, elapsed_s=60.0)
    assert (relative.verdict, relative.no_harm_e, relative.harmless_e) == (Verdict.INCONCLUSIVE, 1.0, 0.0)


def test_the_evidence_for_promotion_is_the_mean_of_both_ways():
    evidence = folded(*quiet(40), served("b", candidate=True, events=("error",)), served("s", events=("error",)))
    judgement = judge(evidence, PLAN, 1, elapsed_s=60.0)
    relative = judge(evidence, replace(PLAN, harmless_rate=None), 1, elapsed_s=60.0).no_harm_e
    assert judgement.no_harm_e == pytest.approx((relative + judgement.harmless_e) / 2.0)


def test_a_rare_but_suspicious_candidate_is_not_promoted_by_the_absolute_way():
    suspicious = [served(f"b{n}", candidate=True, weight=0.05, events=("error",)) for n in range(2)]
    evidence = folded(*suspicious, *quiet(2000))
    # The sums of bad conversations speak against the candidate, though they are only 0.1 % of its own.
    judgement = judge(evidence, replace(PLAN, alpha=0.001), 1, elapsed_s=60.0)
    assert 20.0 <= judgement.harm_e < 1000.0
    assert (judgement.verdict, judgement.code) == (Verdict.INCONCLUSIVE, Code.WAITING)
    assert judgement.harmless_e == 0.0


def test_thousands_of_bad_conversations_still_have_an_outlook():
    evidence = folded(*[served(f"b{n}", candidate=True, events=("error",)) for n in range(3000)])
    assert judge(evidence, PLAN, 1, elapsed_s=60.0).eta_s > 0.0


def test_three_failures_of_the_candidate_alone_at_ten_percent_are_enough():
    harmful = [served(f"c{n}", weight=0.1, candidate=True, events=("error",)) for n in range(3)]
    judgement = judge(folded(*harmful), PLAN, 0, elapsed_s=0.0)
    assert (judgement.verdict, judgement.code) == (Verdict.FAIL, Code.HARM)
    assert judgement.harm_e > 100.0
    assert "3 of 3 on the candidate" in judgement.reasons[0]


def failing(arm, failures, requests):
    statuses = [500] * failures + [200] * (requests - failures)
    return [served(f"{arm}{n}", candidate=arm == "c", status=status) for n, status in enumerate(statuses)]


def test_the_guardrail_needs_its_samples_and_surely_more_than_its_rate():
    assert judge(folded(*failing("c", 20, 100)), PLAN, 1, elapsed_s=1.0).code is Code.GUARDRAIL
    assert judge(folded(*failing("c", 20, 99)), PLAN, 1, elapsed_s=1.0).code is not Code.GUARDRAIL
    assert judge(folded(*failing("c", 6, 100)), PLAN, 1, elapsed_s=1.0).code is not Code.GUARDRAIL


def test_with_a_stable_arm_the_guardrail_needs_a_candidate_that_is_surely_worse():
    beside = [*failing("c", 20, 100), *failing("s", 1, 100)]
    assert judge(folded(*beside), PLAN, 1, elapsed_s=1.0).code is Code.GUARDRAIL
    alike = [*failing("c", 6, 100), *failing("s", 4, 100)]
    assert judge(folded(*alike), PLAN, 1, elapsed_s=1.0).code is not Code.GUARDRAIL


def test_failures_of_both_arms_pause_instead_of_blaming_the_candidate():
    evidence = folded(*failing("c", 20, 100), *failing("s", 20, 100))
    judgement = judge(evidence, PLAN, 1, elapsed_s=1.0)
    assert (judgement.verdict, judgement.code) == (Verdict.INCONCLUSIVE, Code.BOTH_ARMS_FAIL)
    again = judge(evidence, PLAN, 1, elapsed_s=1.0, acknowledged=[Code.BOTH_ARMS_FAIL])
    assert again.code is not Code.BOTH_ARMS_FAIL


def test_an_acknowledged_pause_never_silences_a_failure():
    evidence = folded(*failing("c", 20, 100))
    judgement = judge(evidence, PLAN, 1, elapsed_s=1.0, acknowledged=list(Code))
    assert judgement.verdict is Verdict.FAIL


def test_a_sample_ratio_mismatch_is_inconclusive_until_a_user_says_otherwise():
    evidence = folded(*[served(f"c{n}", candidate=n % 10 == 0) for n in range(200)])
    judgement = judge(evidence, PLAN, 1, elapsed_s=100.0)
    assert (judgement.verdict, judgement.code) == (Verdict.INCONCLUSIVE, Code.SAMPLE_RATIO)
    assert "20 conversations on the candidate and 180 on stable" in judgement.reasons[0]
    assert judge(evidence, PLAN, 1, elapsed_s=100.0, acknowledged=[Code.SAMPLE_RATIO]).code is Code.WAITING


def test_a_lower_guardrail_of_the_plan_is_obeyed():
    plan = replace(PLAN, guardrails=Guardrails(max_error_rate=0.5, min_samples=2))
    assert judge(folded(*failing("c", 20, 20)), plan, 1, elapsed_s=1.0).code is Code.GUARDRAIL
