"""What a rollout under way waits for, as its controller sees it: also the candidate's health and the checks that run.

`services/rollouts.py` asks for `rollout status` and `rollout explain`. A row alone does not say it: a step whose
evidence is enough still waits for a healthy candidate, and for the smoke checks of the step after it.
"""

from dataclasses import dataclass, replace

from shipway.core.errors import NotFoundError
from shipway.core.ports import State
from shipway.rollouts.actions import Action, Advance, Hold, Observed
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.checks import REPLAY
from shipway.rollouts.entering import makes_room, permission, smoke, wanted_checks
from shipway.rollouts.model import Phase, Rollout, RolloutState
from shipway.rollouts.progress import progress
from shipway.rollouts.story import waiting
from shipway.services.http_processes import ProcessTarget
from shipway.services.rollout_checks import kept_result


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a rollout waits for in words, "" when for nothing.

    `checks` are those that are asked for and have no result yet, also while something else is waited for: the smoke
    checks of a step begin with the step before it. `is_for_checks` tells whether they are what it waits for.
    """

    text: str
    checks: tuple[str, ...] = ()
    is_for_checks: bool = False


async def awaited(state: State, rollout: Rollout, judgement: Judgement, now_s: float) -> Awaited:
    """Return what a rollout waits for at a Unix time."""
    said = Awaited(waiting(rollout, judgement, now_s))
    if not said.text or rollout.phase is not Phase.APPLIED or rollout.command is not None:
        return said
    try:
        observed = await _observed(state, rollout, judgement, now_s)
    except NotFoundError:
        # A release that is gone is the controller's to complain about; this only tells.
        return said
    match _next(rollout, judgement, observed):
        case Hold(reason):
            wanted = wanted_checks(rollout, judgement, observed)
            checks = tuple(kind for kind in wanted if kind not in observed.checks)
            by_smoke = smoke(rollout, rollout.step + 1, observed) == Hold(reason)
            return Awaited(reason, checks, is_for_checks=by_smoke or REPLAY in checks)
        case Advance(step) if rollout.state is RolloutState.PENDING:
            return Awaited(f"step {step + 1} is about to begin")
        case _:
            return said


async def _observed(state: State, rollout: Rollout, judgement: Judgement, now_s: float) -> Observed:
    """Return what the next action depends on: the candidate's health, and what its checks said."""
    snapshot = await state.snapshots.read(rollout.environment)
    healthy = await ProcessTarget(state.documents, rollout.environment).healthy(rollout.candidate)
    seen = Observed(snapshot, (), rollout.epoch, now_s, candidate_healthy=healthy)
    results = {
        kind: await kept_result(state.documents, kind, rollout) for kind in wanted_checks(rollout, judgement, seen)
    }
    return replace(seen, checks={kind: found for kind, found in results.items() if found is not None})


def _next(rollout: Rollout, judgement: Judgement, observed: Observed) -> Action | None:
    """Return what the controller does next; None where the row says it all."""
    if rollout.state is RolloutState.PROGRESSING:
        return progress(rollout, judgement, observed)
    if rollout.times.services_s is None or not observed.candidate_healthy:
        return None
    held = None if makes_room(rollout) else permission(rollout, 0, observed.now_s)
    return held or smoke(rollout, 0, observed) or Advance(0)
