"""The canary strategy: what a judgement means for a rollout whose weights are confirmed. Pure; called by `decide`."""

from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import Action, Advance, Hold, Observed, Pause, Promote, RollBack
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.model import Code, Rollout

_PAUSING = frozenset({Code.SAMPLE_RATIO, Code.BOTH_ARMS_FAIL})


def progress(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    """Return the next action of a progressing canary in phase applied."""
    if judgement.verdict is Verdict.FAIL:
        return RollBack(judgement.code, _text(judgement), Verdict.FAIL)
    if judgement.code in _PAUSING:
        return Pause(judgement.code, _text(judgement), judgement.verdict)
    if judgement.verdict is Verdict.PASS:
        return _forward(rollout, judgement, observed)
    expired = _expired(rollout, observed.now_s)
    if not expired:
        return Hold(_text(judgement))
    reason = f"{expired} without a verdict: {_text(judgement)}"
    if judgement.verdict is Verdict.NO_DATA and rollout.plan.on_no_data == "abort":
        return RollBack(Code.NO_DATA, reason, Verdict.NO_DATA)
    return Pause(Code.EXPIRED, reason, judgement.verdict)


def _forward(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action:
    if rollout.step + 1 == len(rollout.plan.steps):
        return Promote(_text(judgement), Verdict.PASS)
    if not observed.candidate_healthy:
        return Hold(f"{rollout.candidate} passed the step but is not healthy now")
    return Advance(rollout.step + 1)


def _expired(rollout: Rollout, now_s: float) -> str:
    max_s, deadline_s = rollout.plan.steps[rollout.step].max_s, rollout.plan.deadline_s
    if max_s is not None and _since(rollout.times.step_s, now_s) >= max_s:
        return f"step {rollout.step + 1} reached max_s = {max_s:g}"
    if deadline_s is not None and _since(rollout.times.clock_s, now_s) >= deadline_s:
        return f"the rollout reached deadline_s = {deadline_s:g}"
    return ""


def _since(start_s: float | None, now_s: float) -> float:
    return 0.0 if start_s is None else now_s - start_s


def _text(judgement: Judgement) -> str:
    return "; ".join(judgement.reasons)
