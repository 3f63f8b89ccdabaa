"""Whether a step or the whole rollout has taken as long as its plan allows. Pure."""

from shipway.rollouts.model import Rollout


def expired(rollout: Rollout, now_s: float) -> str:
    """Return which of its times has run out, "" when none has."""
    max_s, deadline_s = rollout.plan.steps[rollout.step].max_s, rollout.plan.deadline_s
    if max_s is not None and _since(rollout.times.step_s, now_s) >= max_s:
        return f"step {rollout.step + 1} reached max_s = {max_s:g}"
    if deadline_s is not None and _since(rollout.times.clock_s, now_s) >= deadline_s:
        return f"the rollout reached deadline_s = {deadline_s:g}"
    return ""


def _since(start_s: float | None, now_s: float) -> float:
    return 0.0 if start_s is None else now_s - start_s
