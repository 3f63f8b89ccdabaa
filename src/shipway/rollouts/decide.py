"""The one place that says what happens next to a rollout. Pure: (row, judgement, world) -> action.

It looks at levels, never at what the last action was: a controller that takes over anywhere finds the same next action.
Strategies (`canary`) are asked only when nothing else is due: no command, no foreign change, no unconfirmed intent.
"""

from shipway.core.ports import WorkerState
from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import (
    Action,
    Advance,
    Complete,
    Confirm,
    DetectForeign,
    Fail,
    FinishRollBack,
    Hold,
    Ignore,
    Observed,
    Pause,
    Promote,
    Restamp,
    Resume,
    ReturnFromDeadMan,
    RollBack,
    SetWeights,
    StartServices,
    StopServices,
    TakeOver,
)
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.canary import progress
from shipway.rollouts.model import Code, Command, CommandKind, Phase, Rollout, RolloutState
from shipway.rollouts.traffic import fingerprint, is_at, is_foreign, serves_candidate

_BEFORE_PROMOTION = frozenset({RolloutState.PENDING, RolloutState.PROGRESSING, RolloutState.PAUSED})


def decide(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:  # noqa: PLR0911 - a rule a line
    """Return the next action for a rollout."""
    if rollout.finished:
        return _settle(rollout, observed)
    if observed.snapshot.epoch < observed.epoch:
        return Restamp()
    if rollout.epoch < observed.epoch:
        return TakeOver()
    if rollout.command is not None:
        return _obey(rollout, rollout.command, observed)
    if rollout.state is RolloutState.ROLLING_BACK:
        return _withdraw(rollout, observed)
    if rollout.state is RolloutState.PAUSED and rollout.code is Code.FOREIGN:
        return Hold(rollout.reason)
    disturbance = _disturbance(rollout, observed)
    if disturbance is not None:
        return disturbance
    if rollout.phase is Phase.INTENT:
        return _carry_out(rollout, judgement, observed)
    return _continue(rollout, judgement, observed)


def _disturbance(rollout: Rollout, observed: Observed) -> Action | None:
    """Return the answer to what the data plane did or cannot do; None when it is as the row says."""
    if observed.candidate_problem:
        # Whoever waited for that worker would wait for ever.
        return RollBack(Code.CANNOT_LOAD, observed.candidate_problem, Verdict.ERROR)
    if is_foreign(observed.snapshot, rollout):
        return DetectForeign(fingerprint(observed.snapshot, rollout))
    tripped = _tripped(rollout, observed)
    return ReturnFromDeadMan(tripped) if tripped else None


def _continue(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    match rollout.state:
        case RolloutState.PENDING:
            return _ready(rollout, observed) or Advance(0)
        case RolloutState.PROGRESSING:
            return progress(rollout, judgement, observed)
        case _:
            return _rescue(rollout, judgement) or Hold(f"paused: {rollout.reason}")


def _obey(rollout: Rollout, command: Command, observed: Observed) -> Action:
    state, reason = rollout.state, command.reason or f"{command.kind} by {command.actor}"
    found = fingerprint(observed.snapshot, rollout)
    match command.kind:
        case CommandKind.ABORT if state is not RolloutState.ROLLING_BACK:
            return RollBack(Code.USER, reason, actor=command.actor)
        case CommandKind.PAUSE if state in {RolloutState.PENDING, RolloutState.PROGRESSING}:
            return Pause(Code.USER, reason, actor=command.actor)
        case CommandKind.RESUME if state is RolloutState.PAUSED:
            return Resume(command.actor, reason, overwrite=found)
        case CommandKind.PROMOTE if state in _BEFORE_PROMOTION:
            return _ready(rollout, observed) or Promote(reason, actor=command.actor, overwrite=found)
        case _:
            return Ignore(f"{command.kind} by {command.actor} means nothing while {state}")


def _ready(rollout: Rollout, observed: Observed) -> Action | None:
    """Return what the candidate still needs before it may have any traffic; None when nothing."""
    started_s = rollout.times.services_s
    if started_s is None:
        return StartServices()
    if observed.candidate_healthy:
        return None
    waited_s = observed.now_s - started_s
    if waited_s < rollout.plan.start_timeout_s or rollout.step >= 0:
        return Hold(f"{rollout.candidate} is not healthy after {waited_s:.0f} s")
    return Fail(f"{rollout.candidate} was not healthy within {rollout.plan.start_timeout_s:g} s; read its log")


def _carry_out(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    rescue = _rescue(rollout, judgement)
    if rescue is not None:
        return rescue
    snapshot = observed.snapshot
    if not is_at(snapshot, rollout, rollout.intent) or snapshot.version < rollout.min_version:
        return SetWeights(rollout.intent)
    # A worker on its dead man serves no candidate whatever its version; only a weight cares.
    tripped = [worker.worker for worker in observed.workers if worker.dead_man_tripped and rollout.intent.weight]
    behind = sorted({*_behind(observed), *tripped})
    if behind:
        return Hold(f"waiting for workers {', '.join(behind)} to apply snapshot {snapshot.version}")
    return Complete() if rollout.state is RolloutState.PROMOTING else Confirm()


def _rescue(rollout: Rollout, judgement: Judgement) -> Action | None:
    """Return the rollback of a candidate found harmful while its weight waits for workers or for a user."""
    harmful = judgement.verdict is Verdict.FAIL and rollout.step >= 0
    if not harmful or rollout.state is RolloutState.PROMOTING:
        return None
    return RollBack(judgement.code, "; ".join(judgement.reasons), Verdict.FAIL)


def _withdraw(rollout: Rollout, observed: Observed) -> Action:
    if serves_candidate(observed.snapshot, rollout):
        return SetWeights(None)
    behind = _behind(observed)
    if behind:
        return Hold(f"waiting for workers {', '.join(behind)} to drop the candidate")
    return FinishRollBack()


def _settle(rollout: Rollout, observed: Observed) -> Action:
    if rollout.settled:
        return Hold("settled")
    ended_s = rollout.times.confirmed_s
    waited_s = 0.0 if ended_s is None else observed.now_s - ended_s
    if waited_s < rollout.plan.drain_s:
        return Hold(f"draining: {waited_s:.0f} of {rollout.plan.drain_s:g} s")
    loser = rollout.stable if rollout.state is RolloutState.COMPLETED else rollout.candidate
    return StopServices(loser, needed=loser in observed.snapshot.releases() | observed.in_use)


def _tripped(rollout: Rollout, observed: Observed) -> tuple[str, ...]:
    last_s, wait_s = rollout.times.dead_man_s, rollout.plan.dead_man_s
    if rollout.applied.weight == 0.0 or (last_s is not None and observed.now_s - last_s < wait_s):
        return ()
    return tuple(sorted(worker.worker for worker in observed.workers if _dropped(worker, observed)))


def _dropped(worker: WorkerState, observed: Observed) -> bool:
    # A worker that is behind may untrip when it applies the newest snapshot; only one that has it needs a new one.
    return worker.dead_man_tripped and worker.version >= observed.snapshot.version


def _behind(observed: Observed) -> list[str]:
    return sorted(worker.worker for worker in observed.workers if worker.version < observed.snapshot.version)
