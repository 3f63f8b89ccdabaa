"""Where services start rollouts, read them and hand users' commands to the controller.

An index document per environment names the rollouts that are not settled; it is also what keeps an environment to one
rollout at a time.
"""

from dataclasses import replace
from typing import Any

from shipway.core.clock import Clock
from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.core.ids import ReleaseId, RolloutId
from shipway.core.ports import DocumentStore
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.model import APPROVABLE, Code, Command, CommandKind, Division, Phase, Rollout, RolloutState, Times
from shipway.rollouts.plan import Plan, settle_s
from shipway.rollouts.plan_check import problems
from shipway.rollouts.transitions import recorded

KIND = "rollout"
INDEX_KIND = "rollout_index"
_ATTEMPTS = 20
_UNDER_WAY = frozenset({RolloutState.PENDING, RolloutState.PROGRESSING})
_ALLOWED = {
    CommandKind.PAUSE: _UNDER_WAY,
    CommandKind.RESUME: frozenset({RolloutState.PAUSED}),
    CommandKind.APPROVE: frozenset({RolloutState.PAUSED}),
    CommandKind.PROMOTE: _UNDER_WAY | {RolloutState.PAUSED},
    CommandKind.ABORT: _UNDER_WAY | {RolloutState.PAUSED, RolloutState.PROMOTING},
}
_ANOTHER = "`shipway rollout list` shows the rollouts, `shipway deploy RELEASE` starts another"


def new_rollout(
    rollout_id: RolloutId,
    environment: str,
    routes: tuple[str, ...],
    *,
    releases: tuple[ReleaseId, ReleaseId],
    plan: Plan,
    now_s: float,
) -> Rollout:
    """Return the row of a rollout from `releases[0]` (stable) to `releases[1]` (candidate).

    Raises:
        UsageError: the plan cannot run, the releases are the same or there is no route.
    """
    stable, candidate = releases
    faults = problems(plan)
    if stable == candidate:
        faults.append(f"candidate: {candidate!r} is the stable release of {environment!r} already")
    if not routes:
        faults.append("routes: the list is empty, so no traffic would move")
    if faults:
        raise UsageError("\n".join(faults), hint="correct the rollout plan and start again")
    return Rollout(
        id=rollout_id,
        environment=environment,
        routes=routes,
        stable=stable,
        candidate=candidate,
        plan=plan,
        evidence=CanaryEvidence.start(harm_ratio=plan.harm_ratio, settle_s=settle_s(plan)),
        times=Times(created_s=now_s),
        applied=Division(stable),
        intent=Division(stable),
        state=RolloutState.PENDING,
        phase=Phase.APPLIED,
    )


async def start(documents: DocumentStore, rollout: Rollout, *, actor: str) -> Rollout:
    """Store a new rollout for the controller to find.

    Raises:
        ConflictError: another rollout of the environment has not finished.
    """
    index, version = await _index(documents, rollout.environment)
    unsettled = []
    for known in index:
        other = await find(documents, known)
        if other is not None and not other[0].finished:
            raise ConflictError(
                f"rollout {known} of {rollout.environment!r} is {other[0].state}",
                hint=f"wait for it, or abort it: shipway rollout abort {known}",
            )
        if other is not None:
            unsettled.append(known)
    # The index first: a crash in between leaves the name of a rollout that never was, which the next start drops.
    body = {"rollouts": [*unsettled, rollout.id]}
    await documents.put(INDEX_KIND, rollout.environment, body, expected_version=version)
    details: dict[str, Any] = {
        "stable": rollout.stable,
        "candidate": rollout.candidate,
        "plan": rollout.plan.to_dict(),
        "override": rollout.override,
    }
    started = recorded(rollout, rollout.times.created_s, "started", actor=actor, details=details)
    await documents.put(KIND, rollout.id, started.to_dict(), expected_version=0)
    if rollout.id not in (await _index(documents, rollout.environment))[0]:
        await documents.delete(KIND, rollout.id)
        raise ConflictError(f"another rollout of {rollout.environment!r} was started at the same moment")
    return started


async def withdraw(documents: DocumentStore, rollout: Rollout) -> None:
    """Take a rollout back that was stored a moment ago, as if it had never been."""
    await documents.delete(KIND, rollout.id)
    await forget_settled(documents, rollout.environment, rollout.id)


async def submit(
    documents: DocumentStore, clock: Clock, rollout_id: RolloutId, kind: CommandKind, *, actor: str, reason: str = ""
) -> Rollout:
    """Leave a command for the controller; aborting what is being or was rolled back changes nothing.

    Raises:
        NotFoundError: no such rollout.
        ConflictError: its state does not allow the command, an abort is waiting already, or the row changed too often.
    """
    for _ in range(_ATTEMPTS):
        rollout, version = await load(documents, rollout_id)
        commanded = with_command(rollout, Command(kind, actor, reason, clock.now_s()))
        if commanded is rollout:
            return rollout
        try:
            await documents.put(KIND, rollout_id, commanded.to_dict(), expected_version=version)
        except ConflictError:
            continue
        return commanded
    raise ConflictError(f"rollout {rollout_id} changed {_ATTEMPTS} times while {kind} was written", hint="try again")


def with_command(rollout: Rollout, command: Command) -> Rollout:
    """Return the row with a command waiting; an abort is accepted until the rollout has ended and never replaced.

    Raises:
        ConflictError: the state does not allow it, or an abort is waiting and the new command is another one.
    """
    waiting = rollout.command
    is_abort = command.kind is CommandKind.ABORT
    if waiting is not None and waiting.kind is CommandKind.ABORT and not rollout.finished:
        if is_abort:
            return rollout
        raise ConflictError(
            f"rollout {rollout.id}: {waiting.actor} aborted it, {command.kind} comes too late", hint=_follow(rollout)
        )
    if is_abort and rollout.state in {RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK}:
        return rollout
    if waiting is not None and waiting.kind is command.kind and not rollout.finished:
        return replace(rollout, command=command)
    _refuse_other_word(rollout, command.kind)
    state = _expected_state(rollout)
    if state not in _ALLOWED[command.kind]:
        allowed = ", ".join(sorted(_ALLOWED[command.kind]))
        raise ConflictError(
            f"rollout {rollout.id} is {state}, so there is nothing to {command.kind}",
            hint=_ANOTHER if rollout.finished else f"{command.kind} is for a rollout that is {allowed}",
        )
    return replace(rollout, command=command)


def _refuse_other_word(rollout: Rollout, kind: CommandKind) -> None:
    """Check that an approval is given where one is waited for, and nothing less."""
    rests = rollout.state is RolloutState.PAUSED and rollout.command is None
    if kind is CommandKind.RESUME and rests and rollout.code is Code.APPROVAL:
        raise ConflictError(
            f"rollout {rollout.id}: {rollout.reason}",
            hint=f"`shipway rollout approve {rollout.id}` lets it begin; resuming does not",
        )
    waits = rests and rollout.code in APPROVABLE
    if kind is CommandKind.APPROVE and not waits and not rollout.finished:
        held = rollout.state is RolloutState.PAUSED
        hint = f"`shipway rollout resume {rollout.id}` lets it go on" if held else _follow(rollout)
        raise ConflictError(f"rollout {rollout.id} is {rollout.state} and waits for no approval", hint=hint)


def _follow(rollout: Rollout) -> str:
    return f"`shipway rollout status {rollout.id}` says what it waits for, `shipway rollout watch` follows it"


def _expected_state(rollout: Rollout) -> RolloutState:
    """Return the state that the rollout has once the controller has read the command that waits."""
    match rollout.command and rollout.command.kind:
        case CommandKind.PAUSE if rollout.state in _ALLOWED[CommandKind.PAUSE]:
            return RolloutState.PAUSED
        case CommandKind.RESUME if rollout.state is RolloutState.PAUSED:
            return RolloutState.PROGRESSING
        case _:
            return rollout.state


async def find(documents: DocumentStore, rollout_id: RolloutId) -> tuple[Rollout, int] | None:
    """Return a rollout and its row's version, or None."""
    stored = await documents.get(KIND, rollout_id)
    return None if stored is None else (Rollout.from_dict(stored[0]), stored[1])


async def load(documents: DocumentStore, rollout_id: RolloutId) -> tuple[Rollout, int]:
    """Return a rollout and its row's version.

    Raises:
        NotFoundError: no such rollout.
    """
    found = await find(documents, rollout_id)
    if found is None:
        raise NotFoundError(f"no rollout {rollout_id!r}", hint="list them: shipway rollout list")
    return found


async def unsettled(documents: DocumentStore, environment: str) -> list[RolloutId]:
    """Return the rollouts of an environment that the controller still has to look at, oldest first."""
    return (await _index(documents, environment))[0]


async def forget_settled(documents: DocumentStore, environment: str, rollout_id: RolloutId) -> None:
    """Take a settled rollout off the index.

    Raises:
        ConflictError: the index changed meanwhile; the next tick tries again.
    """
    index, version = await _index(documents, environment)
    if rollout_id in index:
        left = [known for known in index if known != rollout_id]
        await documents.put(INDEX_KIND, environment, {"rollouts": left}, expected_version=version)


async def _index(documents: DocumentStore, environment: str) -> tuple[list[RolloutId], int]:
    stored = await documents.get(INDEX_KIND, environment)
    return ([], 0) if stored is None else ([RolloutId(known) for known in stored[0]["rollouts"]], stored[1])
