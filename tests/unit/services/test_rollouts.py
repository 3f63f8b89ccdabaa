"""How a rollout is described, to programs and in the lines that people read."""

from dataclasses import replace

import pytest

from shipway.entrypoints.cli.commands.rollout import summary_lines
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.metrics import MetricSums
from shipway.rollouts.model import Division, Rollout, RolloutState, Times
from shipway.rollouts.outcomes import CandidateOutcomes
from shipway.rollouts.plan import Plan, Step
from shipway.rollouts.transitions import recorded
from shipway.services.rollouts import view
from shipway.stats.betting import PairState, add_pair

ROW = replace(
    new_rollout("ro_1", "production", ("ask",), releases=("rel_old", "rel_new"), plan=Plan(), now_s=0.0),
    step=2,
    times=Times(0.0, decided_s=30.0),
    evidence=replace(
        CanaryEvidence.start(harm_ratio=2.0),
        first_bad_event_at_s=10.0,
        outcomes=CandidateOutcomes(settle_s=1.0, settled=120, bad=1),
    ),
)
PROMOTED = replace(ROW, state=RolloutState.COMPLETED, applied=Division("rel_new"))
ROLLED_BACK = replace(ROW, state=RolloutState.ROLLED_BACK, applied=Division("rel_old"))
AT_TENTH = replace(ROW, state=RolloutState.PROGRESSING, applied=Division("rel_old", "rel_new", 0.1))


def text_of(rollout: Rollout) -> str:
    return "\n".join(summary_lines({**view(rollout), "decision_to_last_assignment_s": None}))


def test_after_a_promotion_the_candidate_is_stable_and_has_everybody():
    assert view(PROMOTED)["weight"] == 1.0
    assert "promoted: rel_new is stable now and serves 100%" in text_of(PROMOTED)
    assert "weight 0%" not in text_of(PROMOTED)


def test_after_a_rollback_the_old_release_has_everybody():
    assert view(ROLLED_BACK)["weight"] == 0.0
    assert "withdrawn: rel_old serves everybody" in text_of(ROLLED_BACK)


def test_under_way_the_step_and_its_weight_are_shown():
    assert view(AT_TENTH)["weight"] == 0.1
    assert "step 3 of" in text_of(AT_TENTH)
    assert "weight 10%" in text_of(AT_TENTH)


@pytest.mark.parametrize(("rollout", "elapsed_s"), [(PROMOTED, None), (AT_TENTH, None), (ROLLED_BACK, 20.0)])
def test_how_fast_bad_events_were_answered_is_said_of_rollbacks_only(rollout, elapsed_s):
    assert view(rollout)["first_bad_event_to_decision_s"] == elapsed_s
    assert ("first bad event -> decision" in text_of(rollout)) is (elapsed_s is not None)


def test_the_absolute_evidence_is_given_as_a_number_and_in_words():
    promotion = view(AT_TENTH)["promotion"]
    assert promotion["harmless_e"] > 1.0
    assert promotion["no_harm_e"] == pytest.approx((promotion["relative_e"] + promotion["harmless_e"]) / 2)
    wanted = "evidence that fewer than 5.00% of the candidate's own conversations are bad: "
    assert f"{wanted}{promotion['harmless_e']:.3g} (1 bad of 120 that have settled)" in text_of(AT_TENTH)
    assert "(promotion needs 20)" in text_of(AT_TENTH)


def test_without_an_absolute_limit_only_the_comparison_is_shown():
    relative = replace(AT_TENTH, plan=replace(Plan(), harmless_rate=None))
    assert view(relative)["promotion"]["harmless_e"] is None
    assert "own conversations" not in text_of(relative)


def test_a_plan_that_needs_no_evidence_of_no_harm_does_not_say_that_its_promotion_needs_it():
    steps = (Step(0.0, traffic=False), Step(1.0, traffic=False, prove=False))
    done = replace(PROMOTED, plan=replace(Plan(), strategy="blue-green", steps=steps), step=1)
    assert view(done)["promotion"]["required"] is False
    assert "evidence of no harm: not required by this plan" in text_of(done)
    assert "promotion needs" not in text_of(done)


def test_a_shadow_shows_what_its_pairs_prove():
    steps = (Step(0.0, shadow=0.1, min_pairs=5), Step(1.0, traffic=False, prove=False))
    pairs = PairState(harm=0.02, margin=0.05)
    for _ in range(124):
        pairs = add_pair(pairs, 0.0)
    evidence = replace(ROW.evidence, metrics=(MetricSums("pairs", pairs=pairs),))
    done = replace(PROMOTED, plan=replace(Plan(), strategy="shadow", steps=steps), evidence=evidence, step=1)
    (found,) = view(done)["promotion"]["pairs"]
    assert (found["metric"], found["pairs"], found["no_harm_e"] > 20.0) == ("pairs", 124, True)
    assert f"evidence of no harm by 124 shadow pairs (pairs): {found['no_harm_e']:.3g} of 20" in text_of(done)
    assert "promotion needs" not in text_of(done)


@pytest.mark.parametrize(("since_s", "said"), [(0.075, "+0.075 s"), (-0.2, "-0.200 s (before the decision)")])
def test_a_request_assigned_after_the_decision_is_not_said_to_be_before_it(since_s, said):
    lines = summary_lines({**view(ROLLED_BACK), "decision_to_last_assignment_s": since_s})
    assert lines[-1] == f"  decision -> last request assigned to it: {said}"


def test_what_a_person_promoted_is_not_said_to_have_needed_evidence():
    promoted = recorded(PROMOTED, 1.0, "promoted", actor="user:ada")
    assert "(20 was not waited for: a person promoted it)" in text_of(promoted)
    assert "(promotion needs 20)" in text_of(recorded(PROMOTED, 1.0, "promoted"))
