"""What a judgement means for a rollout whose weights are confirmed, whatever its strategy. Pure; called by `decide`."""

from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import Action, Advance, Hold, Observed, Pause, Promote, RollBack
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.checks import REPLAY
from shipway.rollouts.entering import at_its_last_step, permission, smoke
from shipway.rollouts.expiry import expired
from shipway.rollouts.model import Code, Rollout
from shipway.rollouts.plan import stays

_WAYS_ON = "resume, promote or abort it"
_PAUSING = frozenset({Code.SAMPLE_RATIO, Code.BOTH_ARMS_FAIL, Code.RULE})


def progress(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    """Return the next action of a progressing rollout in phase applied."""
    if judgement.verdict is Verdict.FAIL:
        return harm(rollout, judgement)
    if judgement.code in _PAUSING:
        return Pause(judgement.code, _text(judgement), judgement.verdict)
    if judgement.verdict is Verdict.PASS:
        return _forward(rollout, judgement, observed)
    over = expired(rollout, observed.now_s)
    if not over:
        return Hold(_text(judgement))
    reason = f"{over} without a verdict: {_text(judgement)}"
    if judgement.verdict is Verdict.NO_DATA:
        return _without_data(rollout, reason, observed)
    return Pause(Code.EXPIRED, f"{reason}; {_WAYS_ON}", judgement.verdict)


def harm(rollout: Rollout, judgement: Judgement) -> Action:
    """Return what a plan does about a candidate that was found harmful."""
    if rollout.plan.on_harm == "rollback":
        return RollBack(judgement.code, _text(judgement), Verdict.FAIL)
    if judgement.code in rollout.acknowledged:
        return Hold(f"frozen: {_text(judgement)}; promote or abort it")
    reason = f"{_text(judgement)}; the weights are frozen: abort it, promote it, or resume to hold it there"
    return Pause(judgement.code, reason, Verdict.FAIL)


def _forward(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    step = rollout.step + 1
    if not observed.candidate_healthy:
        reason, over = f"{rollout.candidate} passed the step but is not healthy now", expired(rollout, observed.now_s)
        return Pause(Code.EXPIRED, f"{over}: {reason}", judgement.verdict) if over else Hold(reason)
    if step < len(rollout.plan.steps):
        return permission(rollout, step, observed.now_s) or smoke(rollout, step, observed) or Advance(step)
    if stays(rollout.plan):
        return Hold(f"{_text(judgement)}; {at_its_last_step(rollout)}")
    return permission(rollout, step, observed.now_s) or Promote(_text(judgement), Verdict.PASS)


def _without_data(rollout: Rollout, reason: str, observed: Observed) -> Action:
    if rollout.plan.on_no_data == "abort":
        return RollBack(Code.NO_DATA, reason, Verdict.NO_DATA)
    if rollout.plan.on_no_data != REPLAY:
        return Pause(Code.EXPIRED, f"{reason}; {_WAYS_ON}", Verdict.NO_DATA)
    found = observed.checks.get(REPLAY)
    if found is None:
        return Hold(f"{reason}; the gate's cases are asked of both releases meanwhile")
    if found.verdict is Verdict.FAIL:
        return RollBack(Code.REPLAY, f"{reason}; asked the gate's cases instead: {found.text}", Verdict.FAIL)
    # Cases are not users: whatever they say, a person decides.
    asked = f"{reason}; asked the gate's cases instead: {found.text}"
    return Pause(Code.EXPIRED, f"{asked}; {_WAYS_ON}", Verdict.NO_DATA)


def _text(judgement: Judgement) -> str:
    return "; ".join(judgement.reasons)
