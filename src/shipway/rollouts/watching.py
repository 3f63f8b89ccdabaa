"""What the watch over a promoted release comes to. Pure; `decide` asks before it settles a completed rollout."""

from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import Action, EndWatch, Observed, RollBack
from shipway.rollouts.model import Code, Division, Rollout
from shipway.rollouts.traffic import is_at
from shipway.rollouts.watch import ROLLBACK, watch_alarm, watch_ended


def watched(rollout: Rollout, observed: Observed) -> Action | None:
    """Return what ends the watch; None while it goes on or when there is none."""
    watch, plan = rollout.watch, rollout.plan.watch
    if watch is None:
        return None
    if observed.in_use or not is_at(observed.snapshot, rollout, Division(rollout.candidate)):
        return EndWatch("the environment has gone on to something else")
    alarm = watch_alarm(watch, plan)
    if alarm and plan.action == ROLLBACK:
        return RollBack(Code.WATCH, alarm, Verdict.FAIL)
    if alarm:
        return EndWatch(f"{alarm}; look at it, and go back with `shipway rollback` if it is the release", proposal=True)
    if watch_ended(watch, plan, now_s=observed.now_s):
        return EndWatch(f"{watch.bad} of {watch.conversations} conversations turned bad in {plan.for_s:g} s: no alarm")
    return None
