"""What must be true before a step begins: the time of the week, a person's approval, the smoke checks. Pure.

`decide` asks before the first step, `progress` before the others and before the promotion.
"""

from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import Action, Hold, Observed, Pause, RollBack
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.calendar import is_open, next_opening
from shipway.rollouts.checks import REPLAY, SMOKE
from shipway.rollouts.expiry import expired
from shipway.rollouts.model import Code, Rollout, RolloutState


def permission(rollout: Rollout, step: int, now_s: float) -> Action | None:
    """Return what a step waits for that needs no running candidate; None when it may begin."""
    plan = rollout.plan
    if step == len(plan.steps):
        return _approval(rollout, step, "the promotion") if plan.ask_to_promote else None
    windows = plan.steps[step].windows
    if not is_open(windows, plan.timezone, now_s):
        opening = next_opening(windows, plan.timezone, now_s)
        return Hold(f"step {step + 1} begins in {' or '.join(windows)} ({plan.timezone}); next: {opening or 'never'}")
    return _approval(rollout, step, f"step {step + 1}") if plan.steps[step].approval else None


def at_its_last_step(rollout: Rollout) -> str:
    """Return what a rollout waits for that no evidence ends: a person's word."""
    return (
        f"it stays at its last step: `shipway rollout promote {rollout.id}` gives it to everybody,"
        f" `shipway rollout abort {rollout.id}` to nobody"
    )


def passed_over(rollout: Rollout) -> list[str]:
    """Return in words the steps that have not begun and what they ask for, which a promotion by hand does without."""
    told = []
    for number, step in enumerate(rollout.plan.steps):
        asked = (
            ("smoke checks", step.smoke),
            ("a person's approval", step.approval and number not in rollout.approved),
            ("a time of the week", bool(step.windows)),
        )
        names = ", ".join(name for name, is_asked in asked if is_asked)
        if number > rollout.step:
            told.append(f"step {number + 1} at {step.weight:.0%}" + (f" ({names})" if names else ""))
    return told


def makes_room(rollout: Rollout) -> bool:
    """Tell whether stable's users wait, or are about to, because the candidate needs stable's place."""
    parks = rollout.applied.parked or rollout.intent.parked or rollout.times.displaced_s is not None
    return parks and rollout.step < 0 and rollout.state is RolloutState.PENDING


def smoke(rollout: Rollout, step: int, observed: Observed) -> Action | None:
    """Return what the candidate's smoke checks mean for a step that wants them; None when it may begin."""
    if not _wants_smoke(rollout, step):
        return None
    found = observed.checks.get(SMOKE)
    if found is None:
        return Hold(f"the smoke checks of {rollout.candidate} run; step {step + 1} waits for them")
    match found.verdict:
        case Verdict.PASS:
            return None
        case Verdict.FAIL:
            return RollBack(Code.SMOKE, f"smoke checks failed: {found.text}", Verdict.FAIL)
        case verdict:
            return _undone(rollout, f"the smoke checks could not be done: {found.text}", verdict)


def _undone(rollout: Rollout, reason: str, verdict: Verdict) -> Action | None:
    """Return what smoke checks mean that could not be done."""
    if Code.SMOKE in rollout.acknowledged:
        return None
    if makes_room(rollout):
        # Users wait; a person may take long.
        return RollBack(Code.SMOKE, reason, verdict)
    return Pause(
        Code.SMOKE,
        f"{reason}; `shipway rollout resume {rollout.id}` does them again, approve goes on without them",
        verdict,
    )


def wanted_checks(rollout: Rollout, judgement: Judgement, observed: Observed) -> tuple[str, ...]:
    """Return the checks whose results the next decision needs."""
    commanded = rollout.command is not None and not makes_room(rollout)
    if rollout.state not in {RolloutState.PENDING, RolloutState.PROGRESSING} or commanded:
        return ()
    smoke_due = _wants_smoke(rollout, rollout.step + 1) and observed.candidate_healthy
    started = rollout.times.services_s is not None
    replay_due = (
        judgement.verdict is Verdict.NO_DATA
        and rollout.plan.on_no_data == REPLAY
        and rollout.step >= 0
        and bool(expired(rollout, observed.now_s))
    )
    return (*((SMOKE,) if smoke_due and started else ()), *((REPLAY,) if replay_due else ()))


def _wants_smoke(rollout: Rollout, step: int) -> bool:
    return step < len(rollout.plan.steps) and rollout.plan.steps[step].smoke


def _approval(rollout: Rollout, step: int, what: str) -> Action | None:
    if step in rollout.approved:
        return None
    return Pause(Code.APPROVAL, f"{what} waits for a person: `shipway rollout approve {rollout.id}`, or abort it")
