"""Whether a release is the first of its project: only then may gates that compare with a baseline not apply.

It is the first as long as no other release was ever stable in the environment or has passed its gates. Evaluations ask
this before anything is asked, and `shipway gate run` of what was stored.
"""

import math
from collections.abc import Sequence

from shipway.core.errors import GateRefusedError
from shipway.core.ids import ReleaseId
from shipway.core.verdicts import Verdict
from shipway.evals.gate_spec import GateSpec, NonRegressionGate
from shipway.services.application import Application

_KIND = "evaluation"
# They are listed oldest first, and the newest are wanted.
_ALL = 1_000_000


async def earlier_release(app: Application, release: str, *, before_s: float = math.inf) -> str | None:
    """Return what a release could be compared with: another that was stable last, else the last other that passed.

    Only what happened before `before_s` counts. None means that the release is the first.
    """
    history = await app.releases.label_history(app.environment)
    if history and history[0].release == release:
        return None
    stable = [entry.release for entry in history if entry.release != release and entry.at_s < before_s]
    if stable:
        return stable[-1]
    passed = [
        body
        for _, body, *_ in await app.state.documents.list(_KIND, limit=_ALL)
        if body["release"] != release and body["verdict"] == Verdict.PASS.value and float(body["at_s"]) < before_s
    ]
    return str(max(passed, key=lambda body: float(body["at_s"]))["release"]) if passed else None


async def replaced_release(app: Application, release: ReleaseId) -> ReleaseId | None:
    """Return what was stable before a release that is stable; None where that is the first one that ever was."""
    history = await app.releases.label_history(app.environment)
    if history and history[0].release == release:
        return None
    return next((entry.release for entry in reversed(history) if entry.release != release), None)


def compares(spec: GateSpec) -> bool:
    """Tell whether a gate needs something to compare with."""
    return isinstance(spec, NonRegressionGate)


async def demand_first_release(
    app: Application, release: ReleaseId | None, specs: Sequence[GateSpec], *, before_s: float = math.inf
) -> None:
    """Refuse to compare a later release with nothing, before an answer is paid for.

    Without a release another target is asked in its place, and every release is an earlier one. Of answers that were
    given already only what had happened before `before_s` counts.

    Raises:
        GateRefusedError: with verdict ERROR; a gate compares, and an earlier release is there to compare with.
    """
    comparing = next(filter(compares, specs), None)
    if comparing is None:
        return
    earlier = await earlier_release(app, release or "", before_s=before_s)
    if earlier is None:
        return
    if release is None:
        raise GateRefusedError(
            Verdict.ERROR,
            f"verdict ERROR: gate '{comparing.label}' has no baseline: what is asked is not the first to be judged"
            f" ({earlier} has passed or was stable); nothing was asked",
            hint=f"compare it with that release: the same command with --baseline {earlier}; --no-gates asks and judges"
            " nothing",
        )
    raise GateRefusedError(
        Verdict.ERROR,
        f"verdict ERROR: gate '{comparing.label}' has no baseline: {release} is not the first release ({earlier} has"
        f" passed or was stable), and no other is stable in {app.environment} now; nothing was asked",
        hint=f"deploy the one before: `shipway deploy {earlier}`, then evaluate again; or compare with it now:"
        f" `shipway eval run {release} --baseline {earlier}`",
    )
