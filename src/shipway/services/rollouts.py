"""Reading and steering rollouts; starting one is `services/deployments.py`."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from shipway.core.errors import NotFoundError, UnavailableError, UsageError
from shipway.core.ids import ReleaseId, RolloutId
from shipway.core.ports import Fence
from shipway.core.verdicts import Verdict
from shipway.registry.store import ReleaseRegistry
from shipway.rollouts import desk
from shipway.rollouts.analysis import Judgement, harmless_e_value, promotion_e_value
from shipway.rollouts.controller import judged
from shipway.rollouts.metrics import PAIRS
from shipway.rollouts.model import CommandKind, Rollout, RolloutState
from shipway.rollouts.plan import proves_no_harm
from shipway.rollouts.readings import combined_e
from shipway.rollouts.story import story
from shipway.services.application import Installation
from shipway.services.rollout_checks import kept_checks, printed_by
from shipway.services.rollout_waits import Awaited, awaited
from shipway.stats.betting import pair_e_no_harm
from shipway.stats.sequential import e_value_no_harm

CONTROLLER_ACTOR = "rollout-controller"

STATE_VERDICTS: dict[RolloutState, Verdict] = {
    RolloutState.COMPLETED: Verdict.PASS,
    RolloutState.ROLLED_BACK: Verdict.FAIL,
    RolloutState.FAILED: Verdict.ERROR,
}
"""What a finished rollout says; one that has not finished is INCONCLUSIVE."""

_REPORTED_S = 10.0
"""Workers report more often than this."""


class RegistryLabels:
    """The rollout controller's `Labels`."""

    def __init__(self, registry: ReleaseRegistry, now_s: Any) -> None:
        self._registry = registry
        self._now_s = now_s

    async def set(self, environment: str, release: ReleaseId, *, fence: Fence) -> None:
        """Make a release the stable one of an environment."""
        await self._registry.set_label(environment, release, at_s=self._now_s(), actor=CONTROLLER_ACTOR, fence=fence)


async def list_rollouts(app: Installation) -> list[Rollout]:
    """Return the rollouts of the environment, oldest first."""
    found = [Rollout.from_dict(body) for _, body, _ in await app.state.documents.list(desk.KIND)]
    return [rollout for rollout in found if rollout.environment == app.environment]


async def find_rollout(app: Installation, name: str | None = None) -> Rollout:
    """Return a rollout by its id, or the newest one.

    Raises:
        NotFoundError: no such rollout, or none at all.
        UsageError: an empty id, which a shell's unset variable leaves; the newest one is hardly meant.
    """
    if name is not None and not name.strip():
        raise UsageError("ROLLOUT: the value is empty; name a rollout, or leave it out for the newest")
    if name is not None:
        return (await desk.load(app.state.documents, RolloutId(name)))[0]
    rollouts = await list_rollouts(app)
    if not rollouts:
        raise NotFoundError(f"no rollout in {app.environment}", hint="`shipway deploy RELEASE` starts one")
    return rollouts[-1]


async def controller_runs(app: Installation) -> bool:
    """Tell whether somebody leads the environment's rollouts, so that a command for one is read."""
    lease = await app.state.leases.read(f"rollouts/{app.environment}")
    return lease is not None and lease.holder != "" and app.clock.now_s() - lease.renewed_at_s <= lease.ttl_s


async def require_controller(app: Installation, kind: CommandKind, rollout: RolloutId) -> None:
    """Check that a command just left for the controller will be read.

    Raises:
        UnavailableError: no controller runs; the command is kept.
    """
    if not await controller_runs(app):
        raise UnavailableError(
            f"no controller runs for {app.environment!r}, so nothing has changed yet: {kind.value} of rollout {rollout}"
            " is kept and carried out as soon as one runs",
            hint="start it: `shipway up`; then `shipway rollout watch` follows it",
        )


async def command_rollout(
    app: Installation, name: str | None, kind: CommandKind, *, reason: str = "", actor: str | None = None
) -> dict[str, Any]:
    """Leave a command for the controller and return the rollout's view."""
    rollout = await find_rollout(app, name)
    await desk.submit(app.state.documents, app.clock, rollout.id, kind, actor=actor or app.actor, reason=reason)
    return view(await find_rollout(app, rollout.id))


async def rollout_views(app: Installation) -> list[dict[str, Any]]:
    """Return every rollout's view, newest first."""
    return [view(rollout) for rollout in reversed(await list_rollouts(app))]


async def described(app: Installation, rollout: Rollout) -> dict[str, Any]:
    """Return a rollout's view with the candidate's last assignment and last answer as the records have them.

    The controller stops reading once a rollout has ended; a request assigned after that, or answered late, is still
    found here. `decision_to_last_assignment_s` is negative when the last one came before the decision.
    """
    assigned: float | None = None
    answered: float | None = None
    position = 0
    while page := await app.state.records.after(position, environment=rollout.environment, rollout=rollout.id):
        position = page[-1].position
        for record in (item.record for item in page if item.record.is_candidate):
            assigned = max(assigned or 0.0, record.at_s)
            answered = max(answered or 0.0, record.at_s + record.latency_ms / 1000)
    decided = rollout.times.decided_s
    since = None if decided is None or assigned is None else round(assigned - decided, 3)
    now_s = app.clock.now_s()
    judgement = judged(rollout, now_s)
    told = {
        "waiting": (await _awaited(app, rollout, judgement, now_s)).text,
        "silent_workers": await _silent_workers(app, rollout),
        "harm": {"e": combined_e(judgement.readings), "needed_e": 1.0 / rollout.plan.alpha},
    }
    times = {"last_candidate_assignment_at_s": assigned, "last_candidate_answer_at_s": answered}
    return view(rollout) | told | times | {"decision_to_last_assignment_s": since}


async def _awaited(app: Installation, rollout: Rollout, judgement: Judgement, now_s: float) -> Awaited:
    """Return what a rollout waits for; where nobody leads, no check runs."""
    found = await awaited(app.state, rollout, judgement, now_s)
    if not found.is_for_checks or await controller_runs(app):
        return found
    said = f"no controller runs, so nobody does the {' and '.join(found.checks)} checks of {rollout.candidate}"
    return replace(found, text=f"{said}; `shipway up` starts it")


async def _silent_workers(app: Installation, rollout: Rollout) -> list[str]:
    """Return the workers that serve stable alone, because control has been silent for `dead_man_s`."""
    if not rollout.applied.has_users:
        return []
    seen_after_s = app.clock.now_s() - _REPORTED_S
    workers = await app.state.snapshots.workers(app.environment, seen_after_s=seen_after_s)
    return sorted(worker.worker for worker in workers if worker.dead_man_tripped)


async def explained(
    app: Installation, rollout: Rollout, *, check_output: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Return why a rollout stands where it stands, as JSON values and as lines for people.

    With `check_output` also all that its checks printed.
    """
    now_s = app.clock.now_s()
    judgement = judged(rollout, now_s)
    waits = await _awaited(app, rollout, judgement, now_s)
    checks = await kept_checks(app.state.documents, rollout)
    printed = [await printed_by(app.state.blobs, check) if check_output else [] for check in checks]
    value = {
        "rollout": rollout.id,
        "state": rollout.state.value,
        "verdict": judgement.verdict.value,
        "reasons": list(judgement.reasons),
        "waiting": waits.text,
        "metrics": [asdict(reading) for reading in judgement.readings],
        "rules": [asdict(reading) for reading in judgement.rules],
        "promotion": _promotion(rollout),
        "sample_ratio_e": judgement.sample_ratio_e,
        "eta_s": judgement.eta_s,
        "curve": [
            {"at_s": at_s, "harm_e": harm_e, "no_harm_e": no_harm_e}
            for at_s, harm_e, no_harm_e in rollout.evidence.curve.points
        ],
        "checks": [
            check | ({"printed": "\n".join(lines)} if check_output else {})
            for check, lines in zip(checks, printed, strict=True)
        ],
    }
    told = [line for check, lines in zip(checks, printed, strict=True) for line in (*_check_lines(check), *lines)]
    told += [f"  {kind}: no result yet" for kind in waits.checks]
    return value, [*story(rollout, judgement, now_s), *(["", "checks:", *told] if told else [])]


def _check_lines(check: dict[str, Any]) -> list[str]:
    """Return the lines that name a check, its result, and where all that it printed is kept."""
    at = datetime.fromtimestamp(check["at_s"], UTC).isoformat(timespec="seconds")
    kept = f"all that it printed: blob {check['output']}; `rollout explain --check-output` prints it"
    return [
        f"  {check['check']} {at}: {check['verdict']}: {check['text']}",
        *([f"    {kept}"] if check["output"] else []),
    ]


def verdict_of(rollout: Rollout) -> Verdict:
    """Return what a rollout says so far."""
    return STATE_VERDICTS.get(rollout.state, Verdict.INCONCLUSIVE)


def is_at_rest(rollout: Rollout) -> bool:
    """Tell whether nothing more comes by itself: it has finished, or it is paused and no command waits for control."""
    return rollout.finished or (rollout.state is RolloutState.PAUSED and rollout.command is None)


def view(rollout: Rollout) -> dict[str, Any]:
    """Return what people and programs want to know of a rollout, as JSON values."""
    evidence, times = rollout.evidence, rollout.times
    total = evidence.total()
    decided, last = times.decided_s, evidence.last_candidate_assignment_at_s
    withdrawn = rollout.state in {RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK}
    return {
        "rollout": rollout.id,
        "environment": rollout.environment,
        "state": rollout.state.value,
        "verdict": verdict_of(rollout).value,
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "routes": list(rollout.routes),
        "step": rollout.step + 1,
        "steps": len(rollout.plan.steps),
        "weight": candidate_share(rollout),
        "phase": rollout.phase.value,
        "code": rollout.code.value,
        "reason": rollout.reason,
        "override": rollout.override,
        "conversations": {"candidate": total.candidate.conversations, "stable": total.stable.conversations},
        "bad_conversations": {"candidate": total.candidate.bad, "stable": total.stable.bad},
        "events": [{"event": name, "candidate": c, "stable": s} for name, c, s in evidence.events],
        "created_at_s": times.created_s,
        "first_bad_event_at_s": evidence.first_bad_event_at_s,
        "decided_at_s": decided,
        "confirmed_at_s": times.confirmed_s,
        "last_candidate_assignment_at_s": last,
        "decision_to_last_assignment_s": _elapsed(decided, last),
        # A promotion is not a reaction to bad events, so there is no delay to measure.
        "first_bad_event_to_decision_s": _elapsed(evidence.first_bad_event_at_s, decided) if withdrawn else None,
        "promotion": _promotion(rollout),
        "history": [asdict(entry) for entry in rollout.history],
    }


def candidate_share(rollout: Rollout) -> float:
    """Return the share of conversations that the candidate gets; all of them once it is what is stable."""
    return 1.0 if rollout.applied.stable == rollout.candidate else rollout.applied.weight


def _promotion(rollout: Rollout) -> dict[str, Any]:
    """Return the evidence for promotion: the mean of two e-values, or `relative_e` alone without a harmless rate.

    `required` tells whether some step waits for it; shadow steps wait for that of their `pairs`.
    """
    plan, evidence = rollout.plan, rollout.evidence
    harmless_e = None if plan.harmless_rate is None else harmless_e_value(evidence, plan)
    return {
        "no_harm_e": promotion_e_value(evidence, plan),
        "needed_e": 1.0 / plan.promote_alpha,
        "relative_e": e_value_no_harm(evidence.process),
        "harmless_e": harmless_e,
        "harmless_rate": plan.harmless_rate,
        "required": any(proves_no_harm(plan, number) for number in range(len(plan.steps))),
        "pairs": [
            {"metric": metric.name, "pairs": state.count, "no_harm_e": pair_e_no_harm(state)}
            for metric in plan.metrics
            if metric.kind == PAIRS and (state := evidence.sums(metric.name).pairs) is not None
        ],
        "good": evidence.outcomes.good,
        "bad": evidence.outcomes.bad,
    }


def _elapsed(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else round(max(0.0, end_s - start_s), 3)
