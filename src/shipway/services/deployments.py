"""Bringing a release to an environment: the gate is asked, the plan is shown, then it is applied.

The way back is `services/rollbacks.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import anyio
from anyio import to_thread

from shipway.core.errors import (
    ConflictError,
    GateRefusedError,
    NotYetError,
    UnavailableError,
)
from shipway.core.ids import ReleaseId, RolloutId, RouteName, ulid
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.core.verdicts import Verdict
from shipway.registry.model import Release
from shipway.rollouts import desk
from shipway.rollouts.baseline import Baseline
from shipway.rollouts.model import Rollout, RolloutState
from shipway.rollouts.plan import Plan
from shipway.rollouts.plan_text import printable
from shipway.services.application import Application, Installation
from shipway.services.baselines import read_baseline
from shipway.services.deployment_rows import note_confirmed, note_moved
from shipway.services.evaluations import latest_evaluation
from shipway.services.gates import judge_since
from shipway.services.judges.building import JudgeParts
from shipway.services.rollout_faults import park_notes, plan_notes, require_possible, segment_notes
from shipway.services.rollout_plans import PlanChoice, chosen_plan, plan_of, project_plan
from shipway.services.rollouts import is_at_rest, list_rollouts
from shipway.services.under_way import rollback_under_way

_WRITE_ATTEMPTS = 20
_POLL_S = 0.05
_WORKER_ALIVE_S = 5.0
START_TIMEOUT_S = 120.0
_CONFIRM_TIMEOUT_S = 15.0


class Target(Protocol):
    """What serves a release."""

    async def start(self, release: ReleaseId) -> None:
        """Start it."""
        ...

    async def stop(self, release: ReleaseId, *, at_s: float | None = None) -> None:
        """Stop it, at once or at a Unix time, unless it is started again until then."""
        ...

    async def healthy(self, release: ReleaseId) -> bool:
        """Tell whether it can take traffic."""
        ...

    async def endpoints(self, release: ReleaseId) -> Mapping[str, str]:
        """Return where its http routes listen."""
        ...


@dataclass(frozen=True, slots=True)
class DeployPlan:
    """What a deploy will do; nothing has been changed yet.

    `baseline` is what is known of stable's last day, `refused` why the deploy cannot begin now but may later.
    """

    release: Release
    kind: Literal["first", "rollout", "unchanged"]
    stable: ReleaseId | None
    plan: Plan
    gate: str
    override: str
    lines: tuple[str, ...]
    baseline: Baseline | None = None
    refused: ConflictError | None = None


@dataclass(frozen=True, slots=True)
class Deployed:
    """What a deploy or rollback did; `rollout` is None when traffic was moved at once."""

    release: str
    kind: str
    rollout: str | None
    confirmed_s: float | None = None


async def plan_deploy(
    app: Application,
    name: str,
    judge: JudgeParts,
    *,
    override_reason: str = "",
    choice: PlanChoice | None = None,
    at_once: bool = False,
) -> DeployPlan:
    """Ask the gate and say what a deploy would do; `at_once` does not wait out the cooldown.

    A rollout in progress, or a release that was rolled back a moment ago, hides no plan: `apply_deploy` refuses it.

    Raises:
        NotFoundError: no such release.
        GateRefusedError: it was not evaluated against what is stable now or by another judge than the project's, or its
            verdict is not PASS.
        ConfigError: the plan or its file is wrong, or the plan cannot run: every problem with file and line.
    """
    chosen = await to_thread.run_sync(chosen_plan, project_plan(app.loaded), choice or PlanChoice())
    release = await app.releases.get(name)
    refused = await _rollout_in_progress(app)
    stable = await app.releases.label(app.environment)
    plan = plan_of(chosen.section)
    await to_thread.run_sync(require_possible, chosen, plan, release, app.loaded)
    if stable == release.id:
        known = (f"{release.id} is stable in {app.environment} already", *_refusal_lines(refused))
        return DeployPlan(release, "unchanged", stable, plan, "", "", known, refused=refused)
    try:
        gate = await _gate(app, release, stable, judge, override_reason)
    except GateRefusedError as error:
        # Evaluated again, it would still have to wait for the rollout; what is stable may be another release then.
        raise refused or error from error
    if stable is None:
        first = (gate, f"first release of {app.environment}: {release.id} gets all traffic of {_routes(release)}")
        return DeployPlan(release, "first", None, plan, gate, override_reason, first, refused=refused)
    _refuse_route_changes(release, await app.releases.get(stable))
    if refused is None and not at_once:
        refused = await _in_cooldown(app, release.id, chosen.section.cooldown_s)
    now_s = app.clock.now_s()
    baseline = await read_baseline(app.state, app.environment, stable, bad_events=plan.events, now_s=now_s)
    day = baseline.total
    printed = printable(
        plan, conversations_per_s=day.conversations_per_s or 0.0, bad_rate=day.bad_rate or 0.0, now_s=now_s
    )
    notes = [*plan_notes(chosen, plan, release), *park_notes(app.loaded, plan, release)]
    notes += await segment_notes(app.loaded, plan, app.state.keys)
    what = f"{stable} -> {release.id} on {_routes(release)}"
    lines = (gate, what, *printed, *notes, *_refusal_lines(refused))
    return DeployPlan(release, "rollout", stable, plan, gate, override_reason, lines, baseline, refused)


async def apply_deploy(app: Application, plan: DeployPlan, target: Target) -> Deployed:
    """Do what a plan says.

    Raises:
        UnavailableError: the release's process does not get healthy.
        ConflictError: a rollout is in progress or was started meanwhile, the release was rolled back a moment ago, or
            stable has changed since the plan was made.
    """
    if plan.refused is not None:
        raise plan.refused
    release = plan.release
    if plan.override:
        statement = {
            "statement": "gate overridden",
            "by": app.actor,
            "at_s": app.clock.now_s(),
            "reason": plan.override,
        }
        await app.releases.sign_off(release.id, statement)
        await app.audit("gate.overridden", release.id, reason=plan.override, gate=plan.gate)
    if plan.kind == "unchanged":
        return Deployed(release.id, "unchanged", None)
    if plan.kind == "first" or plan.stable is None:
        await app.audit("deployment.started", release.id, environment=app.environment, kind="first")
        return await switch(app, release, target, kind="first", dead_man_s=app.project.rollout.dead_man_s)
    rollout = desk.new_rollout(
        RolloutId(f"ro_{ulid(app.clock.now_s()).lower()}"),
        app.environment,
        tuple(release.manifest["policy"]["routes"]),
        releases=(plan.stable, release.id),
        plan=plan.plan,
        now_s=app.clock.now_s(),
    )
    # Evidence begins where the records end now: earlier rollouts' requests say nothing about this one.
    cursor = await app.state.records.last_position()
    observed = await app.state.observations.last_position()
    evidence = replace(rollout.evidence, cursor=cursor, observed=observed, baseline=plan.baseline)
    started = replace(rollout, override=plan.override, evidence=evidence)
    await _start(app, started, target)
    return Deployed(release.id, "rollout", rollout.id)


async def _start(app: Application, rollout: Rollout, target: Target) -> None:
    """Store a rollout, unless what it compares with is stable no longer.

    A rollback marks that it is under way before it looks for rollouts, and here the rollout is stored before the second
    look for such a mark: of two at the same moment at least one sees the other.
    """
    await _require_stable(app, rollout.stable)
    await desk.start(app.state.documents, rollout, actor=app.actor)
    try:
        await _require_stable(app, rollout.stable)
    except ConflictError:
        await desk.withdraw(app.state.documents, rollout)
        await _stop_unneeded(app, rollout.candidate, target)
        raise


async def _require_stable(app: Installation, stable: ReleaseId) -> None:
    """Check that a release is stable and stays so as far as anybody has said."""
    again = "`shipway status` shows what is served; then deploy again"
    mark = await rollback_under_way(app)
    if mark is not None:
        raise ConflictError(f"{mark.actor} is rolling {app.environment} back to {mark.release}", hint=again)
    now = await app.releases.label(app.environment)
    if now != stable:
        raise ConflictError(f"{now} has become stable in {app.environment} meanwhile, not {stable}", hint=again)


async def wait_rollout(app: Installation, rollout: str, *, timeout_s: float) -> Rollout:
    """Return a rollout once it has finished or paused.

    Raises:
        UnavailableError: neither happened in time; the rollout goes on.
    """
    with anyio.move_on_after(timeout_s):
        while True:
            found, _ = await desk.load(app.state.documents, RolloutId(rollout))
            if is_at_rest(found):
                return found
            await anyio.sleep(_POLL_S * 4)
    raise UnavailableError(
        f"rollout {rollout} did not finish within {timeout_s:g} s", hint="it goes on: `shipway rollout watch`"
    )


async def switch(
    app: Installation, release: Release, target: Target, *, kind: Literal["first", "rollback"], dead_man_s: float | None
) -> Deployed:
    """Give a release all traffic and wait until every gateway worker obeys; None keeps the snapshot's `dead_man_s`.

    Raises:
        UnavailableError: the release's process does not get healthy, or a worker does not obey in time.
        ConflictError: a rollout was started meanwhile, or somebody else gave the traffic to another release.
    """
    await _started(app, release.id, target)
    refused = await _rollout_in_progress(app)
    if refused is not None:
        await _stop_unneeded(app, release.id, target)
        raise refused
    endpoints = await target.endpoints(release.id)
    decided_s = app.clock.now_s()
    snapshot = await _write_stable(app, release, endpoints, dead_man_s)
    # Before anybody has confirmed it, and before the label: whoever repeats this finds what was done so far.
    row = await note_moved(app, release.id, kind, at_s=app.clock.now_s())
    served = await _label(app, release.id, row.at_s)
    if served != release.id:
        await _stop_unneeded(app, release.id, target)
        raise ConflictError(
            f"{served} was made stable at the same moment, and it is what {app.environment} serves",
            hint="`shipway rollout list` and `shipway audit list` say by whom; run this again if you mean it",
        )
    confirmed_s = await _wait_applied(app, snapshot.version, decided_s)
    await note_confirmed(app, row, confirmed_s=confirmed_s)
    action = "deployment.completed" if kind == "first" else "rollback.completed"
    await app.audit(action, release.id, environment=app.environment, snapshot=snapshot.version, confirmed_s=confirmed_s)
    return Deployed(release.id, kind, None, confirmed_s)


async def _label(app: Installation, release: ReleaseId, at_s: float) -> ReleaseId:
    """Call a release stable; returns what is served.

    Another command may have given the traffic to another release in between. Whoever comes last puts the label where
    the traffic is: each looks at the traffic after its last word on the label.
    """
    await app.releases.set_label(app.environment, release, at_s=at_s, actor=app.actor)
    for _ in range(_WRITE_ATTEMPTS):
        served = (await app.state.snapshots.read(app.environment)).routes[0].stable
        if served == await app.releases.label(app.environment):
            return served
        await app.releases.set_label(app.environment, served, at_s=app.clock.now_s(), actor=app.actor)
    raise ConflictError("what is stable kept changing", hint="`shipway status` shows what is served")


async def _stop_unneeded(app: Installation, release: ReleaseId, target: Target) -> None:
    """Stop what was started for a release that serves nobody and takes part in no rollout."""
    rollouts = [rollout for rollout in await list_rollouts(app) if not rollout.finished]
    needed = {name for rollout in rollouts for name in (rollout.stable, rollout.candidate)}
    if release not in needed | set((await app.state.snapshots.read(app.environment)).releases()):
        await target.stop(release)


async def _started(app: Installation, release: ReleaseId, target: Target) -> None:
    """Start a release and wait until it is healthy; what does not get so far is stopped again unless users are on it.

    Raises:
        UnavailableError: it does not get healthy in time.
    """
    healthy = False
    try:
        healthy = await _gets_healthy(release, target)
    finally:
        if not healthy:
            with anyio.CancelScope(shield=True):
                await _stop_unneeded(app, release, target)
    if not healthy:
        raise UnavailableError(
            f"{release} did not get healthy within {START_TIMEOUT_S:g} s", hint="`shipway status`, `shipway logs`"
        )


async def _gets_healthy(release: ReleaseId, target: Target) -> bool:
    await target.start(release)
    with anyio.move_on_after(START_TIMEOUT_S):
        while not await target.healthy(release):
            await anyio.sleep(_POLL_S * 4)
            # An `up` meanwhile takes a process whose purpose it does not know for left over.
            await target.start(release)
        return True
    return False


async def _write_stable(
    app: Installation, release: Release, endpoints: Mapping[str, str], dead_man_s: float | None
) -> Snapshot:
    for _ in range(_WRITE_ATTEMPTS):
        snapshot = await app.state.snapshots.read(app.environment)
        changed = replace(
            snapshot,
            rollout=None,
            keys=tuple(await app.state.keys.list()),
            dead_man_s=snapshot.dead_man_s if dead_man_s is None else dead_man_s,
            routes=tuple(
                RouteTraffic(
                    RouteName(name), release.id, endpoints=((release.id, endpoints[name]),) if name in endpoints else ()
                )
                for name in release.manifest["policy"]["routes"]
            ),
        )
        try:
            return await app.state.snapshots.write(changed, expected_version=snapshot.version)
        except ConflictError:
            continue
    raise ConflictError("the snapshot kept changing; try again")


async def _wait_applied(app: Installation, version: int, decided_s: float) -> float | None:
    """Return seconds from the decision until every living worker obeyed, None when no worker runs."""
    with anyio.move_on_after(_CONFIRM_TIMEOUT_S):
        while True:
            alive = await app.state.snapshots.workers(app.environment, seen_after_s=app.clock.now_s() - _WORKER_ALIVE_S)
            if not alive:
                return None
            if all(worker.version >= version for worker in alive):
                return round(max(worker.at_s for worker in alive) - decided_s, 3)
            await anyio.sleep(_POLL_S)
    raise UnavailableError(
        f"not every gateway worker obeys snapshot {version} after {_CONFIRM_TIMEOUT_S:g} s",
        hint="`shipway logs gateway` says why; `shipway rollback` again goes on with a rollback that nobody confirmed",
    )


async def _gate(
    app: Application, release: Release, stable: ReleaseId | None, judge: JudgeParts, override_reason: str
) -> str:
    found = await latest_evaluation(app, release.id)
    refused = _refusal(release, stable, found)
    if refused is None and found is not None:
        refused = _refused_judge(release, await judge_since(app, found, judge))
    if refused is None:
        baseline = found["baseline"] if found is not None else None
        return f"gate: PASS against {baseline or 'thresholds alone (first release)'}"
    if override_reason:
        return f"gate: {refused.verdict.value}, overridden: {override_reason}"
    raise refused


def _refusal(release: Release, stable: ReleaseId | None, found: dict[str, Any] | None) -> GateRefusedError | None:
    again = f"`shipway eval run {release.id}`"
    if found is None:
        return GateRefusedError(
            Verdict.NO_DATA, f"release {release.id} has not been evaluated", hint=f"run {again} first"
        )
    verdict = Verdict(found["verdict"])
    if verdict is not Verdict.PASS:
        return GateRefusedError(
            verdict,
            f"the gate says {verdict.value} for release {release.id}",
            hint=f"{_mended(verdict, again)}, or deploy with --override-gate REASON, which is audited",
        )
    # While nothing is stable, whatever it was compared with says no less than no comparison.
    if stable is not None and found["baseline"] != stable:
        return GateRefusedError(
            Verdict.NO_DATA,
            f"release {release.id} was evaluated against {found['baseline'] or 'no baseline'},"
            f" but {stable} is stable now",
            hint=f"evaluate it again: {again}",
        )
    return None


def _mended(verdict: Verdict, again: str) -> str:
    """Return what can make a gate's verdict another one."""
    if verdict is Verdict.FAIL:
        return "change the release"
    if verdict is Verdict.ERROR:
        return f"something went wrong in the run and says nothing of the release: read it, then {again} once more"
    return f"what more it takes is in the run's report; then {again} once more"


def _refused_judge(release: Release, differs: str) -> GateRefusedError | None:
    if not differs:
        return None
    return GateRefusedError(
        Verdict.NO_DATA,
        f"release {release.id} was evaluated by another judge: {differs}",
        hint=f"evaluate it again: `shipway eval run {release.id}`",
    )


def _refusal_lines(refused: ConflictError | None) -> tuple[str, ...]:
    return () if refused is None else (f"deploying now would be refused: {refused.message}", f"  {refused.hint}")


async def _rollout_in_progress(app: Installation) -> ConflictError | None:
    """Return why no other rollout can begin; None when one can."""
    for rollout in await list_rollouts(app):
        if not rollout.finished:
            return ConflictError(
                f"rollout {rollout.id} of {rollout.candidate} is {rollout.state.value} in {app.environment}",
                hint=f"wait for it, or `shipway rollout abort {rollout.id}`",
            )
    return None


async def _in_cooldown(app: Application, release: ReleaseId, cooldown_s: float) -> ConflictError | None:
    """Return the refusal when evidence spoke against this very release a moment ago, not when a person aborted it."""
    for rollout in await list_rollouts(app):
        ended_s = rollout.times.decided_s
        withdrawn = rollout.state is RolloutState.ROLLED_BACK and rollout.verdict is Verdict.FAIL
        if rollout.candidate != release or not withdrawn or ended_s is None:
            continue
        left_s = ended_s + cooldown_s - app.clock.now_s()
        if left_s > 0:
            return ConflictError(
                f"{release} was rolled back {app.clock.now_s() - ended_s:.0f} s ago ({rollout.id}): {rollout.reason}",
                hint=f"wait {left_s:.0f} s more (rollout.cooldown_s), deploy another release, or add --at-once",
            )
    return None


def _refuse_route_changes(release: Release, stable: Release) -> None:
    before, after = set(stable.manifest["policy"]["routes"]), set(release.manifest["policy"]["routes"])
    if before != after:
        changed = ", ".join(sorted(before ^ after))
        raise NotYetError(
            f"routes {changed} are added or removed by {release.id}; a canary over a changed set of routes comes later",
            hint="keep the routes of the stable release in this one",
        )


def _routes(release: Release) -> str:
    return ", ".join(release.manifest["policy"]["routes"])
