"""What an action makes of the rollout's row. Pure; `controller` saves the result with compare-and-swap.

Each recorded action adds exactly one entry, to the history and to the outbox, from where it reaches the audit log.
"""

from dataclasses import replace
from typing import Any

from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import (
    Action,
    Advance,
    Approve,
    Complete,
    Confirm,
    DetectForeign,
    Displace,
    EndWatch,
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
from shipway.rollouts.entering import passed_over
from shipway.rollouts.model import CONTROLLER, Code, Division, Entry, Phase, Rollout, RolloutState, Times
from shipway.rollouts.watch import start_watch

_HISTORY = 200


def recorded(
    rollout: Rollout, now_s: float, action: str, *, actor: str = CONTROLLER, details: dict[str, Any] | None = None
) -> Rollout:
    """Return the row with one more entry."""
    number = rollout.actions + 1
    entry = Entry(f"{rollout.id}/{number}", now_s, actor, f"rollout.{action}", details or {})
    return replace(
        rollout,
        actions=number,
        history=(*rollout.history, entry)[-_HISTORY:],
        outbox=(*rollout.outbox, entry),
    )


def transition(rollout: Rollout, action: Action, judgement: Judgement, observed: Observed) -> Rollout:
    """Return the row after an action; the same row when the action leaves no trace in it."""
    match action:
        case Hold() | Restamp() | SetWeights():
            return rollout
        case Advance() | Confirm() | Promote() | Complete() | RollBack() | FinishRollBack():
            return _moved(rollout, action, judgement, observed.now_s)
        case Pause() | DetectForeign() | Resume() | Approve() | ReturnFromDeadMan() | Ignore():
            return _held(rollout, action, observed)
        case TakeOver() | StartServices() | StopServices() | Fail():
            return _kept(rollout, action, observed)
        case EndWatch():
            return _unwatched(rollout, action, observed.now_s)
        case Park() | Displace() | Restore() | NoteHealth():
            return _made_room(rollout, action, observed.now_s)


def _moved(
    rollout: Rollout,
    action: Advance | Confirm | Promote | Complete | RollBack | FinishRollBack,
    judgement: Judgement,
    now_s: float,
) -> Rollout:
    match action:
        case Advance(step):
            return _advanced(rollout, step, judgement, now_s)
        case Confirm():
            return _confirmed(rollout, now_s)
        case Promote():
            return _promoted(rollout, action, judgement, now_s)
        case RollBack():
            return _rolled_back(rollout, action, judgement, now_s)
        case Complete():
            # From the first record on that the rollout's evidence has not seen.
            watch = start_watch(rollout.plan.watch, rollout.evidence, cursor=rollout.evidence.cursor, now_s=now_s)
            return _ended(replace(rollout, watch=watch), RolloutState.COMPLETED, "completed", now_s)
        case FinishRollBack():
            return _ended(rollout, RolloutState.ROLLED_BACK, "rolled_back", now_s)


def _held(
    rollout: Rollout, action: Pause | DetectForeign | Resume | Approve | ReturnFromDeadMan | Ignore, observed: Observed
) -> Rollout:
    now_s = observed.now_s
    match action:
        case Pause(code, reason, verdict, actor):
            paused = _paused(rollout, code, reason, verdict)
            return recorded(paused, now_s, "paused", actor=actor, details={"code": code.value, "reason": reason})
        case DetectForeign(found):
            reason = f"somebody else changed the weights: {found}; resume puts the rollout's back, abort gives up"
            return recorded(_paused(rollout, Code.FOREIGN, reason, None), now_s, Code.FOREIGN, details={"found": found})
        case Resume():
            return _resumed(rollout, action, now_s)
        case Approve():
            return _approved(rollout, action, now_s)
        case ReturnFromDeadMan(workers):
            led = replace(rollout, times=_times_after_silence(rollout, observed))
            again = _rewritten(led, observed.snapshot.version + 1)
            return recorded(again, now_s, "returned_from_dead_man", details={"workers": list(workers)})
        case Ignore(reason):
            return recorded(replace(rollout, command=None), now_s, "command_ignored", details={"reason": reason})


def _kept(rollout: Rollout, action: TakeOver | StartServices | StopServices | Fail, observed: Observed) -> Rollout:
    now_s = observed.now_s
    match action:
        case TakeOver():
            return _taken_over(rollout, observed)
        case StartServices():
            started = replace(rollout, times=replace(rollout.times, services_s=now_s))
            return recorded(started, now_s, "services_started", details={"release": rollout.candidate})
        case StopServices(release, needed):
            # The memory of conversations is of no more use; the sums stay for the report.
            evidence = replace(rollout.evidence, seen={})
            settled = replace(rollout, stopped=True, settled=rollout.watch is None, evidence=evidence)
            return recorded(settled, now_s, "settled", details={"release": release, "stopped": not needed})
        case Fail(reason):
            failed = replace(rollout, reason=reason, verdict=Verdict.ERROR)
            return _ended(failed, RolloutState.FAILED, "failed", now_s)


def _unwatched(rollout: Rollout, action: EndWatch, now_s: float) -> Rollout:
    ended = replace(rollout, watch=None, settled=rollout.stopped)
    if action.proposal:
        ended = replace(ended, code=Code.WATCH, reason=action.reason)
    name = "rollback_proposed" if action.proposal else "watch_ended"
    return recorded(ended, now_s, name, details={"reason": action.reason})


def _made_room(rollout: Rollout, action: Park | Displace | Restore | NoteHealth, now_s: float) -> Rollout:
    times = rollout.times
    match action:
        case Park():
            parked = replace(rollout, phase=Phase.INTENT, intent=Division(rollout.stable, parked=True))
            return recorded(parked, now_s, "parked", details={"release": rollout.stable})
        case Displace():
            displaced = replace(rollout, times=replace(times, displaced_s=now_s))
            return recorded(displaced, now_s, "displaced", details={"release": rollout.stable})
        case Restore():
            restored = replace(rollout, times=replace(times, restored_s=now_s))
            return recorded(restored, now_s, "restored", details={"release": rollout.stable})
        case NoteHealth(healthy):
            noted = replace(rollout, times=replace(times, unhealthy_s=None if healthy else now_s))
            return recorded(noted, now_s, "healthy" if healthy else "unhealthy", details={"release": rollout.candidate})


def _approved(rollout: Rollout, action: Approve, now_s: float) -> Rollout:
    step = rollout.step + 1
    details: dict[str, Any] = {"step": step, "reason": action.reason}
    if rollout.code is Code.SMOKE:
        allowed = replace(rollout, acknowledged=(*rollout.acknowledged, Code.SMOKE))
        details["without"] = "smoke checks"
    else:
        allowed = replace(rollout, approved=(*rollout.approved, step))
    approved = replace(
        allowed,
        state=rollout.resume_to,
        command=None,
        code=Code.NONE,
        reason="",
        verdict=None,
        # Waiting for a person takes nothing off the deadline; what has baked has baked.
        times=replace(rollout.times, clock_s=now_s if rollout.times.clock_s is not None else None),
    )
    return recorded(approved, now_s, "approved", actor=action.actor, details=details)


def _taken_over(rollout: Rollout, observed: Observed) -> Rollout:
    tripped = observed.gone_back(rollout.plan.dead_man_s)
    led = replace(rollout, epoch=observed.epoch)
    if tripped and rollout.applied.has_users:
        led = replace(led, times=_times_after_silence(rollout, observed))
    return recorded(led, observed.now_s, "taken_over", details={"epoch": observed.epoch, "dead_man": list(tripped)})


def _times_after_silence(rollout: Rollout, observed: Observed) -> Times:
    """Return the times after nobody served the candidate: step and deadline begin anew."""
    times, now_s = rollout.times, observed.now_s
    step_s = None if times.step_s is None else now_s
    clock_s = None if times.clock_s is None else now_s
    return replace(times, step_s=step_s, clock_s=clock_s, dead_man_s=now_s)


def _advanced(rollout: Rollout, step: int, judgement: Judgement, now_s: float) -> Rollout:
    wanted = rollout.plan.steps[step]
    # Waiting for a time of the week takes nothing off the deadline.
    times = replace(rollout.times, clock_s=now_s) if step == 0 or wanted.windows else rollout.times
    advanced = replace(
        rollout,
        state=RolloutState.PROGRESSING,
        step=step,
        phase=Phase.INTENT,
        intent=Division(rollout.stable, rollout.candidate, wanted.weight, wanted.routes, wanted.shadow),
        times=times,
        reason="",
    )
    details = {"step": step, "weight": wanted.weight, "reason": "; ".join(judgement.reasons) if step else ""}
    return recorded(advanced, now_s, "advanced", details={**details, **_figures(judgement)})


def _confirmed(rollout: Rollout, now_s: float) -> Rollout:
    confirmed = replace(
        rollout,
        phase=Phase.APPLIED,
        applied=rollout.intent,
        overwrite="",
        min_version=0,
        times=replace(rollout.times, step_s=now_s),
    )
    return recorded(confirmed, now_s, "confirmed", details={"step": rollout.step, "weight": rollout.intent.weight})


def _promoted(rollout: Rollout, action: Promote, judgement: Judgement, now_s: float) -> Rollout:
    promoted = replace(
        rollout,
        state=RolloutState.PROMOTING,
        phase=Phase.INTENT,
        intent=Division(rollout.candidate),
        command=None,
        verdict=action.verdict,
        code=Code.ENOUGH if action.verdict else Code.USER,
        reason=action.reason,
        overwrite=action.overwrite,
        times=replace(rollout.times, promoting_s=now_s, decided_s=now_s),
    )
    details = {"reason": action.reason, **_figures(judgement)}
    if action.verdict is None and (without := passed_over(rollout)):
        details["without"] = without
    return recorded(promoted, now_s, "promoted", actor=action.actor, details=details)


def _rolled_back(rollout: Rollout, action: RollBack, judgement: Judgement, now_s: float) -> Rollout:
    rolled_back = replace(
        rollout,
        state=RolloutState.ROLLING_BACK,
        phase=Phase.INTENT,
        intent=Division(rollout.stable),
        command=None,
        verdict=action.verdict,
        code=action.code,
        reason=action.reason,
        overwrite="",
        watch=None,
        stopped=False,
        times=replace(rollout.times, decided_s=now_s),
    )
    details = {"code": action.code.value, "reason": action.reason, **_figures(judgement)}
    return recorded(rolled_back, now_s, "roll_back", actor=action.actor, details=details)


def _ended(rollout: Rollout, state: RolloutState, action: str, now_s: float) -> Rollout:
    ended = replace(
        rollout,
        state=state,
        phase=Phase.APPLIED,
        applied=rollout.intent,
        overwrite="",
        min_version=0,
        command=None,
        times=replace(rollout.times, confirmed_s=now_s),
    )
    return recorded(ended, now_s, action, details={"reason": ended.reason, "stable": ended.applied.stable})


def _paused(rollout: Rollout, code: Code, reason: str, verdict: Verdict | None) -> Rollout:
    resume_to = rollout.resume_to if rollout.state is RolloutState.PAUSED else rollout.state
    return replace(
        rollout,
        state=RolloutState.PAUSED,
        resume_to=resume_to,
        command=None,
        code=code,
        reason=reason,
        verdict=verdict,
    )


def _resumed(rollout: Rollout, action: Resume, now_s: float) -> Rollout:
    foreign, again = rollout.code is Code.FOREIGN, rollout.code is Code.SMOKE
    acknowledged = rollout.acknowledged if again else (*rollout.acknowledged, rollout.code)
    resumed = replace(
        rollout,
        state=rollout.resume_to,
        command=None,
        acknowledged=tuple(dict.fromkeys(acknowledged)),
        smoke_again=rollout.smoke_again + again,
        code=Code.NONE,
        reason="",
        verdict=None,
        # What has baked before the smoke checks has baked.
        times=replace(rollout.times, clock_s=now_s, step_s=rollout.times.step_s if again else now_s),
    )
    if foreign:
        resumed = replace(_rewritten(resumed, 0), overwrite=action.overwrite)
    return recorded(resumed, now_s, "resumed", actor=action.actor, details={"reason": action.reason})


def _rewritten(rollout: Rollout, min_version: int) -> Rollout:
    """Return the row that puts its division in force once more; an intent under way stays the intent."""
    return replace(rollout, phase=Phase.INTENT, min_version=min_version)


def _figures(judgement: Judgement) -> dict[str, Any]:
    return {
        "harm_e": judgement.harm_e,
        "no_harm_e": judgement.no_harm_e,
        "harmless_e": judgement.harmless_e,
        "sample_ratio_e": judgement.sample_ratio_e,
        "events": judgement.events_seen,
        "metrics": {item.name: item.text for item in judgement.readings if item.judged},
        "rules": {item.name: item.text for item in judgement.rules if item.judged},
    }
