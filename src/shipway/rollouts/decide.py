"""The one place that says what happens next to a rollout. Pure: (row, judgement, world) -> action.

It looks at levels, never at what the last action was: a controller that takes over anywhere finds the same next action.
The plan's steps (`progress`) are asked only when nothing else is due: no command, no foreign change, no unconfirmed
intent.
"""

from dataclasses import replace

from shipway.core.ports import WorkerState
from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import (
    Action,
    Advance,
    Approve,
    Complete,
    Confirm,
    DetectForeign,
    Displace,
    Fail,
    FinishRollBack,
    Hold,
    Ignore,
    NoteHealth,
    Observed,
    Park,
    Pause,
    Promote,
    Restamp,
    Restore,
    Resume,
    ReturnFromDeadMan,
    RollBack,
    SetWeights,
    StartServices,
    StopServices,
    TakeOver,
)
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.entering import makes_room, permission, smoke
from shipway.rollouts.model import APPROVABLE, Code, Command, CommandKind, Division, Phase, Rollout, RolloutState
from shipway.rollouts.progress import harm, progress
from shipway.rollouts.traffic import fingerprint, is_at, is_foreign, is_parked, serves_candidate
from shipway.rollouts.watching import watched

_BEFORE_PROMOTION = frozenset({RolloutState.PENDING, RolloutState.PROGRESSING, RolloutState.PAUSED})


def decide(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:  # noqa: PLR0911 - a rule a line
    """Return the next action for a rollout."""
    if rollout.finished:
        return _settle(rollout, observed)
    if observed.snapshot.epoch < observed.epoch:
        return Restamp()
    if rollout.epoch < observed.epoch:
        return TakeOver()
    # While stable makes room its users wait: who wants a pause waits until they do not.
    waits = makes_room(rollout) and rollout.command is not None and rollout.command.kind is CommandKind.PAUSE
    if rollout.command is not None and not waits:
        return _obey(rollout, rollout.command, judgement, observed)
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
        # Whoever waited for that worker, or for the process that ends at each start, would wait in vain.
        return RollBack(Code.CANNOT_LOAD, observed.candidate_problem, Verdict.ERROR)
    if is_foreign(observed.snapshot, rollout):
        return DetectForeign(fingerprint(observed.snapshot, rollout))
    tripped = _tripped(rollout, observed)
    return ReturnFromDeadMan(tripped) if tripped else _health(rollout, observed)


def _health(rollout: Rollout, observed: Observed) -> Action | None:
    """Return the answer to a candidate with users that is not healthy: a moment to recover, then the way back."""
    since_s = rollout.times.unhealthy_s
    if observed.candidate_healthy or not _exposed(rollout):
        return None if since_s is None else NoteHealth(healthy=True)
    if since_s is None:
        return NoteHealth(healthy=False)
    if observed.now_s - since_s < rollout.plan.unhealthy_s:
        return None
    reason = f"{rollout.candidate} has users and was not healthy for {rollout.plan.unhealthy_s:g} s"
    return RollBack(Code.UNHEALTHY, reason, Verdict.FAIL)


def _exposed(rollout: Rollout) -> bool:
    """Tell whether the candidate has users or is about to get some."""
    if rollout.state is RolloutState.PROMOTING or rollout.applied.has_users:
        return True
    return rollout.phase is Phase.INTENT and rollout.intent.has_users


def _continue(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    match rollout.state:
        case RolloutState.PENDING:
            # What has begun to make room does not wait for a time of the week.
            waits = None if makes_room(rollout) else permission(rollout, 0, observed.now_s)
            return waits or _start(rollout, observed)
        case RolloutState.PROGRESSING:
            return progress(rollout, judgement, observed)
        case _:
            return _rescue(rollout, judgement) or Hold(f"paused: {rollout.reason}")


def _start(rollout: Rollout, observed: Observed) -> Action:
    return _ready(rollout, observed) or smoke(rollout, 0, observed) or Advance(0)


def _obey(rollout: Rollout, command: Command, judgement: Judgement, observed: Observed) -> Action:
    state, reason = rollout.state, command.reason or f"{command.kind} by {command.actor}"
    found = fingerprint(observed.snapshot, rollout)
    match command.kind:
        case CommandKind.ABORT if state is not RolloutState.ROLLING_BACK:
            return RollBack(Code.USER, reason, actor=command.actor)
        case CommandKind.PAUSE if state in {RolloutState.PENDING, RolloutState.PROGRESSING}:
            return Pause(Code.USER, reason, actor=command.actor)
        case CommandKind.RESUME if state is RolloutState.PAUSED and rollout.code is not Code.APPROVAL:
            return Resume(command.actor, reason, overwrite=found)
        case CommandKind.APPROVE if state is RolloutState.PAUSED and rollout.code in APPROVABLE:
            return Approve(command.actor, reason)
        case CommandKind.PROMOTE if state in _BEFORE_PROMOTION:
            wanted = Promote(reason, actor=command.actor, overwrite=found)
            return _outdone(rollout, command, judgement) or _unready(rollout, judgement, observed) or wanted
        case _:
            return Ignore(f"{command.kind} by {command.actor} means nothing while {state} {rollout.code}".rstrip())


def _outdone(rollout: Rollout, command: Command, judgement: Judgement) -> Action | None:
    """Return the rollback of a candidate found harmful before its promotion was read; None when nothing was found.

    Who wanted it promoted cannot have known: found while somebody leads, harm ends a rollout at once.
    """
    rescue = _rescue(rollout, judgement)
    if not isinstance(rescue, RollBack):
        return rescue
    return replace(rescue, reason=f"{rescue.reason}; {command.actor} wanted it promoted, and harm goes first")


def _unready(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action | None:
    """Return what a promotion that somebody wants still waits for, None when nothing."""
    if rollout.phase is Phase.INTENT and rollout.intent.parked:
        return _carry_out(rollout, judgement, observed)
    waits = _ready(rollout, observed)
    if isinstance(waits, Hold):
        # A candidate that has users already does not keep them because somebody wants it promoted.
        return _health(rollout, observed) or waits
    return waits


def _ready(rollout: Rollout, observed: Observed) -> Action | None:
    """Return what the candidate still needs before it may have any traffic; None when nothing."""
    started_s = rollout.times.services_s
    if started_s is None:
        return _room(rollout, observed) or StartServices()
    if observed.candidate_healthy:
        return None
    waited_s = observed.now_s - started_s
    if waited_s < rollout.plan.start_timeout_s or rollout.step >= 0:
        return Hold(f"{rollout.candidate} is not healthy after {waited_s:.0f} s")
    reason = f"{rollout.candidate} was not healthy within {rollout.plan.start_timeout_s:g} s; read its log"
    # Stable was stopped to make room: it has to come back.
    return Fail(reason) if rollout.times.displaced_s is None else RollBack(Code.UNHEALTHY, reason, Verdict.ERROR)


def _room(rollout: Rollout, observed: Observed) -> Action | None:
    """Return what makes room for a candidate that cannot run beside stable; None when there is room."""
    if not rollout.plan.exclusive or rollout.times.displaced_s is not None:
        return None
    if rollout.applied != Division(rollout.stable, parked=True):
        return Park()
    busy = sorted(worker.worker for worker in observed.workers if worker.busy)
    parked_s = rollout.times.step_s
    if busy and parked_s is not None and observed.now_s - parked_s < rollout.plan.drain_s:
        return Hold(f"workers {', '.join(busy)} finish the requests that {rollout.stable} has")
    return Displace()


def _carry_out(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    rescue = _rescue(rollout, judgement)
    if rescue is not None:
        return rescue
    if _exposed(rollout) and not observed.candidate_healthy:
        return Hold(f"{rollout.candidate} is not healthy now, so it gets no users and no promotion")
    snapshot = observed.snapshot
    if not is_at(snapshot, rollout, rollout.intent) or snapshot.version < rollout.min_version:
        return SetWeights(rollout.intent)
    # A worker on its dead man serves no candidate whatever its version; only a weight cares.
    tripped = [worker.worker for worker in observed.workers if worker.dead_man_tripped and rollout.intent.has_users]
    behind = sorted({*_behind(observed), *tripped})
    if behind:
        return Hold(f"waiting for workers {', '.join(behind)} to apply snapshot {snapshot.version}")
    return Complete() if rollout.state is RolloutState.PROMOTING else Confirm()


def _rescue(rollout: Rollout, judgement: Judgement) -> Action | None:
    """Return the rollback of a candidate found harmful while its weight waits for workers or for a user."""
    harmful = judgement.verdict is Verdict.FAIL and rollout.step >= 0
    if not harmful or rollout.state is RolloutState.PROMOTING or rollout.plan.on_harm == "freeze":
        return None
    return harm(rollout, judgement)


def _withdraw(rollout: Rollout, observed: Observed) -> Action:
    restoring = None if observed.stable_healthy else _restore(rollout, observed)
    if restoring is not None:
        return restoring
    if serves_candidate(observed.snapshot, rollout):
        return SetWeights(None)
    behind = _behind(observed)
    if behind:
        return Hold(f"waiting for workers {', '.join(behind)} to drop the candidate")
    return FinishRollBack()


def _restore(rollout: Rollout, observed: Observed) -> Action | None:
    """Return what brings stable back before anybody is sent there; None when that has taken too long."""
    if rollout.times.displaced_s is not None and rollout.times.restored_s is None:
        if not is_parked(observed.snapshot, rollout):
            return SetWeights(None, parked=True)
        behind = _behind(observed)
        if behind:
            return Hold(f"waiting for workers {', '.join(behind)} to hold the requests back")
    if rollout.times.restored_s is None:
        return Restore()
    waited_s = observed.now_s - rollout.times.restored_s
    if waited_s < rollout.plan.start_timeout_s:
        return Hold(f"{rollout.stable} starts again and is not healthy after {waited_s:.0f} s")
    # Neither release is well: an abort has to end all the same, and stable's supervisor goes on trying.
    return None


def _settle(rollout: Rollout, observed: Observed) -> Action:
    if rollout.settled:
        return Hold("settled")
    ended = watched(rollout, observed)
    if ended is not None:
        return ended
    if rollout.stopped:
        return Hold("the promoted release is watched")
    ended_s = rollout.times.confirmed_s
    waited_s = 0.0 if ended_s is None else observed.now_s - ended_s
    kept_s = rollout.plan.keep_s if rollout.state is RolloutState.COMPLETED else 0.0
    if waited_s < max(rollout.plan.drain_s, kept_s):
        return Hold(f"draining: {waited_s:.0f} of {max(rollout.plan.drain_s, kept_s):g} s")
    loser = rollout.stable if rollout.state is RolloutState.COMPLETED else rollout.candidate
    return StopServices(loser, needed=loser in observed.snapshot.releases() | observed.in_use)


def _tripped(rollout: Rollout, observed: Observed) -> tuple[str, ...]:
    last_s, wait_s = rollout.times.dead_man_s, rollout.plan.dead_man_s
    if not rollout.applied.has_users or (last_s is not None and observed.now_s - last_s < wait_s):
        return ()
    if observed.silent_s > wait_s:
        return observed.gone_back(wait_s)
    return tuple(sorted(worker.worker for worker in observed.workers if _dropped(worker, observed)))


def _dropped(worker: WorkerState, observed: Observed) -> bool:
    # A worker that is behind may untrip when it applies the newest snapshot; only one that has it needs a new one.
    return worker.dead_man_tripped and worker.version >= observed.snapshot.version


def _behind(observed: Observed) -> list[str]:
    return sorted(worker.worker for worker in observed.workers if worker.version < observed.snapshot.version)
