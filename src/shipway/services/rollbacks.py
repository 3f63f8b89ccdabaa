"""The way back: to the stable release of a rollout in progress, to the release before, or to a named one.

`shipway rollback` calls it, also while the project file is broken: nothing here reads a setting.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import anyio

from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.core.ids import ReleaseId, RolloutId
from shipway.registry.model import Release
from shipway.registry.store import LabelEntry
from shipway.rollouts import desk
from shipway.rollouts.model import CommandKind, Rollout, RolloutState
from shipway.services.application import Installation
from shipway.services.deployment_rows import deployment_rows, unconfirmed_row
from shipway.services.deployments import Deployed, Target, switch
from shipway.services.http_processes import needs_processes, stop_unneeded
from shipway.services.rollouts import CONTROLLER_ACTOR, list_rollouts, require_controller
from shipway.services.under_way import mark_rollback, marked_rollback, unmark_rollback

_MOST_OFFERED = 5
_DRAIN_S = 30.0
"""The default of `rollout.drain_s`, for a release that no rollout brought."""
_JUST_S = 600.0
"""Who rolls back again so soon after a rollout was taken back means that rollout, not what was stable before."""


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """What a rollback will do; nothing has been changed yet. `rollout` is set when it aborts one.

    `drain_s` is how long the processes of the release that is left go on with the requests that they have.
    """

    kind: Literal["abort", "switch"]
    leaves: ReleaseId | None
    release: Release
    rollout: RolloutId | None
    lines: tuple[str, ...]
    drain_s: float = _DRAIN_S


async def plan_roll_back(app: Installation, *, to: str = "") -> RollbackPlan:
    """Say which release a rollback leaves and which one it returns to; one that nobody confirmed is repeated.

    Raises:
        NotFoundError: there is no release before, or no such release.
        UsageError: the named release is stable already or never was, the one before was itself left by a rollback, or a
            rollout was taken back just now, so that stable is what it was before.
        ConflictError: a release was named while a rollout is in progress.
    """
    rollouts = await list_rollouts(app)
    active = [rollout for rollout in rollouts if not rollout.finished]
    if active and to:
        raise ConflictError(
            f"rollout {active[-1].id} is {active[-1].state.value}", hint="abort it first: `shipway rollout abort`"
        )
    if active:
        rollout = active[-1]
        line = f"rollback of rollout {rollout.id}: {rollout.candidate} -> {rollout.stable}"
        release = await app.releases.get(rollout.stable)
        return RollbackPlan("abort", rollout.candidate, release, rollout.id, (line,))
    history = await app.releases.label_history(app.environment)
    stable = history[-1].release if history else None
    named = await app.releases.get(to) if to else None
    is_repeated = named is None or named.id == stable
    if is_repeated and await unconfirmed_row(app, stable, "rollback") is not None:
        return await _again(app, history)
    if named is None and stable is not None:
        _require_time_since_abort(app, stable, history, rollouts)
    release = named or await _before(app, history, rollouts)
    if release.id == stable:
        hint = "`shipway status` shows what is served; `shipway release list` shows the releases"
        raise UsageError(f"{release.id} is stable in {app.environment} already", hint=hint)
    _require_was_stable(app, release.id, history)
    lines = (f"rollback: {stable or 'nothing'} -> {release.id}",)
    return RollbackPlan("switch", stable, release, None, lines, _drain_s(rollouts, stable))


def _drain_s(rollouts: list[Rollout], left: ReleaseId | None) -> float:
    """Return how long the newest rollout of a release gave to requests under way."""
    plans = [rollout.plan for rollout in rollouts if rollout.candidate == left]
    return plans[-1].drain_s if plans else _DRAIN_S


async def _again(app: Installation, history: list[LabelEntry]) -> RollbackPlan:
    """Return the plan that repeats the last rollback, which not every worker has confirmed."""
    release = await app.releases.get(history[-1].release)
    left = _others(history, {release.id})
    line = f"rollback to {release.id} again: not every gateway worker has confirmed it"
    return RollbackPlan("switch", left[0] if left else None, release, None, (line,))


async def apply_roll_back(app: Installation, plan: RollbackPlan, target: Target, *, reason: str = "") -> Deployed:
    """Do what a plan says.

    Raises:
        ConflictError: the rollout of the plan was changed too often meanwhile, another one was started, or another
            rollback gave the traffic to another release.
        UnavailableError: the release's process does not get healthy, a worker does not obey in time, or no controller
            runs that would abort the rollout; it does so once one runs.
    """
    documents, environment, left = app.state.documents, app.environment, plan.leaves
    if plan.rollout is not None:
        await desk.submit(documents, app.clock, plan.rollout, CommandKind.ABORT, actor=app.actor, reason=reason)
        await require_controller(app, CommandKind.ABORT, plan.rollout)
        return Deployed(plan.release.id, "abort", plan.rollout)
    await app.audit("rollback.started", plan.release.id, environment=environment, from_release=left, reason=reason)
    # Should this process be killed, the next `up` finds the row and says in the audit log what became of it.
    await mark_rollback(app, plan.release.id, left)
    try:
        done = await switch(app, plan.release, target, kind="rollback", dead_man_s=None)
    except BaseException as error:
        with anyio.CancelScope(shield=True):
            await _ended_badly(app, plan, error)
        raise
    await unmark_rollback(app)
    if left is not None:
        await target.stop(left, at_s=app.clock.now_s() + plan.drain_s)
    return done


async def _ended_badly(app: Installation, plan: RollbackPlan, error: BaseException) -> None:
    failed = isinstance(error, Exception)
    why = str(error) if failed else "interrupted"
    action = "rollback.failed" if failed else "rollback.abandoned"
    await app.audit(action, plan.release.id, environment=app.environment, from_release=plan.leaves, reason=why)
    await unmark_rollback(app)


async def clear_left_over(app: Installation) -> None:
    """Clear up after commands that were killed: `up` calls it before it starts anything.

    A rollback that never ended gets its line in the audit log, and processes that nobody needs are not started again.
    """
    documents, environment = app.state.documents, app.environment
    mark = await marked_rollback(app)
    if mark is not None:
        why = f"the command of {mark.actor} ended without saying so"
        left = str(mark.from_release)
        await app.audit("rollback.abandoned", mark.release, environment=environment, from_release=left, reason=why)
        await unmark_rollback(app)
    rollouts = [rollout for rollout in await list_rollouts(app) if not rollout.finished]
    needed = set((await app.state.snapshots.read(environment)).releases())
    needed |= {release for rollout in rollouts for release in (rollout.stable, rollout.candidate)}
    await stop_unneeded(documents, environment, needed)


def require_running(release: Release, *, running: bool) -> None:
    """Check before anything is changed that what must start for a release can start.

    Raises:
        ConflictError: the release needs processes and nothing runs that would start them.
    """
    if needs_processes(release) and not running:
        raise ConflictError(
            f"not running, and {release.id} needs processes of its own before it can take traffic",
            hint="`shipway up` first, then run this again",
        )


def _require_was_stable(app: Installation, release: ReleaseId, history: list[LabelEntry]) -> None:
    """Refuse a release that never was stable here: a rollback asks no gate, so what it serves must have passed one.

    Raises:
        UsageError: it never was.
    """
    if any(entry.release == release for entry in history):
        return
    earlier = _others(history, {history[-1].release} if history else set())
    commands = [f"to one that was stable: `shipway rollback --to {name}`" for name in earlier[:_MOST_OFFERED]]
    was = f"stable were: {', '.join(_others(history, set()))}" if history else "no release was stable yet"
    raise UsageError(
        f"{release} was never stable in {app.environment}, and a rollback asks no gate; {was}",
        hint="\n  ".join([f"a release that was not stable here takes the gate: `shipway deploy {release}`", *commands]),
    )


def _require_time_since_abort(
    app: Installation, stable: ReleaseId, history: list[LabelEntry], rollouts: list[Rollout]
) -> None:
    back = [rollout for rollout in rollouts if rollout.state is RolloutState.ROLLED_BACK and rollout.stable == stable]
    last = max(back, key=lambda rollout: rollout.times.decided_s or 0.0, default=None)
    others = _others(history, {stable})
    if last is None or last.times.decided_s is None or last.times.decided_s < history[-1].at_s:
        return
    back_to = f"`shipway rollback --to {others[0]}`" if others else "no release was stable here before; deploy another"
    ago_s = app.clock.now_s() - last.times.decided_s
    if 0.0 <= ago_s < _JUST_S:
        raise UsageError(
            f"rollout {last.id} was taken back {ago_s:.0f} s ago: {last.candidate} is left,"
            f" {stable} is stable as before",
            hint=f"if {stable} is bad as well: {back_to}",
        )


def _others(history: list[LabelEntry], known: set[ReleaseId]) -> list[ReleaseId]:
    """Return the releases that were stable but the known ones, the one that was stable last first."""
    return list(dict.fromkeys(entry.release for entry in reversed(history) if entry.release not in known))


async def _before(app: Installation, history: list[LabelEntry], rollouts: list[Rollout]) -> Release:
    earlier = [entry for entry in history if entry.release != history[-1].release]
    if not earlier:
        raise NotFoundError(
            f"there is no release before in {app.environment}", hint="`shipway release list` shows the releases"
        )
    current, target = history[-1], earlier[-1]
    if await _was_rolled_back(app, current, target, rollouts):
        raise await _forward(app, current, target, history)
    return await app.releases.get(target.release)


async def _was_rolled_back(app: Installation, current: LabelEntry, target: LabelEntry, rollouts: list[Rollout]) -> bool:
    """Tell whether `current` became stable by leaving `target`, by hand or because a rollout took itself back."""
    by_user = any(
        row.kind == "rollback" and row.release == current.release and row.at_s >= current.at_s
        for row in await deployment_rows(app)
    )
    made = _made_stable(current, rollouts)
    by_controller = made is not None and made.state is RolloutState.ROLLED_BACK and made.candidate == target.release
    return by_user or by_controller


def _made_stable(current: LabelEntry, rollouts: list[Rollout]) -> Rollout | None:
    """Return the rollout whose end gave an entry its release; None when a person did.

    One that was rolled back did so only when it had begun to promote: before that stable never changed.
    """
    if current.actor != CONTROLLER_ACTOR:
        return None
    ended = [
        (rollout.times.decided_s, rollout)
        for rollout in rollouts
        if (rollout.state is RolloutState.COMPLETED and rollout.candidate == current.release)
        or (
            rollout.state is RolloutState.ROLLED_BACK
            and rollout.stable == current.release
            and rollout.times.promoting_s is not None
        )
    ]
    before = [(at_s, rollout) for at_s, rollout in ended if at_s is not None and at_s <= current.at_s]
    return max(before, key=lambda item: item[0])[1] if before else None


async def _forward(app: Installation, current: LabelEntry, target: LabelEntry, history: list[LabelEntry]) -> UsageError:
    """Return the refusal to go to the release that a rollback left, with a command for each way out."""
    first = list(dict.fromkeys(entry.release for entry in history))
    here = first.index(current.release)
    # After `--to` a newer release, the one that was left is the older one of both.
    again = "forward again" if first.index(target.release) > here else "back once more"
    others = [
        f"further {'forward' if first.index(name) > here else 'back'}: `shipway rollback --to {name}`"
        for name in _others(history, {current.release, target.release})[:_MOST_OFFERED]
    ]
    return UsageError(
        f"{app.environment} was rolled back already; the release before is the one that was left, going there is"
        f" going {again}\n"
        f"  stable now   {await _described(app, current)}\n"
        f"  left behind  {await _described(app, target)}",
        hint="\n  ".join([f"if you mean it: `shipway rollback --to {target.release}`", *others]),
    )


async def _described(app: Installation, entry: LabelEntry) -> str:
    since = datetime.fromtimestamp(entry.at_s, UTC).isoformat(timespec="seconds")
    message = (await app.releases.get(entry.release)).provenance.message
    return f"{entry.release}  stable since {since} by {entry.actor}{f'  {message!r}' if message else ''}"
