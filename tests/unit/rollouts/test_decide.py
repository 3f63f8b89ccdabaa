"""The rules of precedence, one by one, without any store."""

from dataclasses import replace

import pytest

from shipway.core.ports import WorkerState
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.core.verdicts import Verdict
from shipway.rollouts import actions
from shipway.rollouts.actions import Observed
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.decide import decide
from shipway.rollouts.desk import new_rollout
from shipway.rollouts.model import Code, Command, CommandKind, Division, Phase, RolloutState, Times
from shipway.rollouts.plan import Plan

QUIET = Judgement(Verdict.INCONCLUSIVE, Code.WAITING, ("3 of 30 conversations",))
HARM = Judgement(Verdict.FAIL, Code.HARM, ("harm",))
PASS = Judgement(Verdict.PASS, Code.ENOUGH, ("enough",))
SNAPSHOT = Snapshot("production", version=7, epoch=2, rollout="ro", routes=(RouteTraffic("ask", "old", "new", 0.1),))
ROW = replace(
    new_rollout("ro", "production", ("ask",), releases=("old", "new"), plan=Plan(), now_s=0.0),
    state=RolloutState.PROGRESSING,
    step=0,
    epoch=2,
    applied=Division("old", "new", 0.1),
    intent=Division("old", "new", 0.1),
    times=Times(0.0, clock_s=1.0, services_s=1.0, step_s=2.0),
)
WORLD = Observed(SNAPSHOT, (WorkerState("w1", "production", 7, 2, 10.0),), epoch=2, now_s=10.0)
SENT = {kind: Command(kind, "ada", "why", 5.0) for kind in CommandKind}


def test_a_new_leader_stamps_the_snapshot_before_anything_else():
    row = replace(ROW, command=SENT[CommandKind.ABORT])
    observed = replace(WORLD, epoch=3)
    assert decide(row, HARM, observed) == actions.Restamp()
    stamped = replace(observed, snapshot=replace(SNAPSHOT, epoch=3))
    assert decide(row, HARM, stamped) == actions.TakeOver()


@pytest.mark.parametrize(
    "state",
    [state for state in RolloutState if state.name not in {"COMPLETED", "ROLLED_BACK", "FAILED", "ROLLING_BACK"}],
)
@pytest.mark.parametrize("phase", list(Phase))
def test_abort_is_obeyed_in_every_state(state, phase):
    row = replace(ROW, state=state, phase=phase, code=Code.FOREIGN, command=SENT[CommandKind.ABORT])
    assert decide(row, PASS, WORLD) == actions.RollBack(Code.USER, "why", actor="ada")


@pytest.mark.parametrize("kind", list(CommandKind))
def test_while_rolling_back_every_command_is_dropped_with_a_reason(kind):
    row = replace(ROW, state=RolloutState.ROLLING_BACK, command=SENT[kind])
    action = decide(row, QUIET, WORLD)
    assert isinstance(action, actions.Ignore)
    assert "rolling_back" in action.reason


def test_a_passed_step_is_not_left_while_the_candidate_is_unhealthy():
    assert decide(ROW, PASS, WORLD) == actions.Advance(1)
    noticed = replace(ROW, times=replace(ROW.times, unhealthy_s=5.0))
    assert isinstance(decide(noticed, PASS, replace(WORLD, candidate_healthy=False)), actions.Hold)


def test_a_candidate_with_users_that_stays_unhealthy_is_withdrawn_and_one_that_recovers_is_not():
    ill = replace(WORLD, candidate_healthy=False)
    assert decide(ROW, QUIET, ill) == actions.NoteHealth(healthy=False)
    noticed = replace(ROW, times=replace(ROW.times, unhealthy_s=8.0))
    assert isinstance(decide(noticed, QUIET, ill), actions.Hold)
    assert decide(noticed, QUIET, replace(ill, now_s=18.0)).code is Code.UNHEALTHY
    assert decide(noticed, QUIET, WORLD) == actions.NoteHealth(healthy=True)
    without_users = replace(ROW, applied=Division("old", "new", 0.0), intent=Division("old", "new", 0.0))
    quiet = replace(ill, snapshot=replace(SNAPSHOT, routes=(RouteTraffic("ask", "old", "new", 0.0),)))
    assert isinstance(decide(without_users, QUIET, quiet), actions.Hold)


def test_harm_rolls_back_a_paused_and_an_unconfirmed_rollout_too():
    for row in (replace(ROW, state=RolloutState.PAUSED, code=Code.USER), replace(ROW, phase=Phase.INTENT)):
        assert decide(row, HARM, WORLD) == actions.RollBack(Code.HARM, "harm", Verdict.FAIL)


@pytest.mark.parametrize("state", [RolloutState.PROGRESSING, RolloutState.PAUSED])
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("code", [Code.NONE, Code.USER, Code.FOREIGN])
def test_a_candidate_found_harmful_is_not_promoted_because_somebody_wants_it(state, phase, code):
    row = replace(ROW, state=state, phase=phase, code=code, command=SENT[CommandKind.PROMOTE])
    action = decide(row, HARM, WORLD)
    assert action == actions.RollBack(Code.HARM, "harm; ada wanted it promoted, and harm goes first", Verdict.FAIL)


def test_a_frozen_candidate_found_harmful_and_one_without_users_so_far_are_promoted_by_whoever_wants_it():
    promoted = actions.Promote("why", actor="ada", overwrite="ask: old, new at 0.1; rollout ro")
    frozen = replace(ROW, plan=replace(ROW.plan, on_harm="freeze"), command=SENT[CommandKind.PROMOTE])
    assert decide(frozen, HARM, WORLD) == promoted
    fresh = replace(ROW, state=RolloutState.PENDING, step=-1, command=SENT[CommandKind.PROMOTE])
    assert decide(fresh, HARM, WORLD) == promoted


def test_nothing_is_written_over_a_foreign_change_not_even_for_harm():
    foreign = replace(WORLD, snapshot=replace(SNAPSHOT, routes=(RouteTraffic("ask", "old", "new", 0.9),)))
    detected = decide(ROW, HARM, foreign)
    assert detected == actions.DetectForeign("ask: old, new at 0.9; rollout ro")
    paused = replace(ROW, state=RolloutState.PAUSED, code=Code.FOREIGN)
    assert isinstance(decide(paused, HARM, foreign), actions.Hold)


def test_a_route_that_is_gone_and_another_rollout_in_the_snapshot_are_foreign():
    gone = replace(WORLD, snapshot=replace(SNAPSHOT, routes=()))
    assert isinstance(decide(ROW, QUIET, gone), actions.DetectForeign)
    other = replace(WORLD, snapshot=replace(SNAPSHOT, rollout="ro_other"))
    assert isinstance(decide(ROW, QUIET, other), actions.DetectForeign)


def test_a_paused_rollout_does_not_advance():
    row = replace(ROW, state=RolloutState.PAUSED, code=Code.USER)
    assert isinstance(decide(row, PASS, WORLD), actions.Hold)


def test_inconclusive_evidence_pauses_and_says_why():
    broken = Judgement(Verdict.INCONCLUSIVE, Code.SAMPLE_RATIO, ("20 and 180",))
    assert decide(ROW, broken, WORLD) == actions.Pause(Code.SAMPLE_RATIO, "20 and 180", Verdict.INCONCLUSIVE)


def test_a_tripped_dead_man_is_answered_once_in_its_own_time():
    tripped = replace(WORLD, workers=(replace(WORLD.workers[0], dead_man_tripped=True),))
    assert decide(ROW, QUIET, tripped) == actions.ReturnFromDeadMan(("w1",))
    answered = replace(ROW, times=replace(ROW.times, dead_man_s=9.0))
    assert isinstance(decide(answered, QUIET, tripped), actions.Hold)
    assert isinstance(decide(answered, QUIET, replace(tripped, now_s=70.0)), actions.ReturnFromDeadMan)


def test_the_losing_release_is_not_stopped_while_anything_needs_it():
    row = replace(ROW, state=RolloutState.ROLLED_BACK, times=replace(ROW.times, confirmed_s=0.0))
    free = replace(WORLD, now_s=31.0, snapshot=replace(SNAPSHOT, routes=(RouteTraffic("ask", "old"),)))
    assert decide(row, QUIET, free) == actions.StopServices("new", needed=False)
    assert decide(row, QUIET, replace(free, in_use=frozenset({"new"}))) == actions.StopServices("new", needed=True)
    assert isinstance(decide(row, QUIET, replace(free, now_s=29.0)), actions.Hold)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("state", [RolloutState.PROGRESSING, RolloutState.PAUSED, RolloutState.PROMOTING])
def test_a_candidate_that_a_worker_cannot_load_is_withdrawn_instead_of_waited_for(state, phase):
    row = replace(ROW, state=state, phase=phase, intent=Division("old", "new", 0.5))
    behind = replace(
        WORLD, workers=(WorkerState("w1", "production", 6, 2, 10.0),), candidate_problem="w1: no model file"
    )
    assert decide(row, QUIET, behind) == actions.RollBack(Code.CANNOT_LOAD, "w1: no model file", Verdict.ERROR)
    assert decide(replace(row, state=RolloutState.ROLLING_BACK), QUIET, behind) == actions.SetWeights(None)


NOTHING = Judgement(Verdict.NO_DATA, Code.NO_DATA, ("no conversation at 10% yet",))


@pytest.mark.parametrize(("on_no_data", "offers"), [("hold", True), ("abort", False)])
def test_only_a_rollout_that_can_still_be_steered_offers_to_be(on_no_data, offers):
    row = replace(ROW, plan=replace(Plan(), on_no_data=on_no_data, deadline_s=1.0))
    action = decide(row, NOTHING, WORLD)
    assert isinstance(action, actions.Pause if offers else actions.RollBack)
    assert ("resume, promote or abort it" in action.reason) is offers


def test_a_rollout_that_goes_back_by_the_gates_cases_does_not_offer_to_be_resumed():
    row = replace(ROW, plan=replace(Plan(), on_no_data="replay", deadline_s=1.0))
    failed = replace(WORLD, checks={"replay": CheckResult(Verdict.FAIL, "verdict: FAIL (correct)")})
    assert decide(row, NOTHING, failed).reason.endswith("asked the gate's cases instead: verdict: FAIL (correct)")
    passed = replace(WORLD, checks={"replay": CheckResult(Verdict.PASS, "verdict: PASS")})
    assert decide(row, NOTHING, passed).reason.endswith("verdict: PASS; resume, promote or abort it")
