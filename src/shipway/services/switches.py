"""Switches for incidents: set, listed, cleared; the data plane learns of them by the snapshot within a second.

The command line and the control API call this. It works without a valid project file: what is deployed decides which
routes and models there are.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.core.snapshot import Snapshot
from shipway.core.switches import EVERYTHING, Switch, SwitchKind
from shipway.services.application import Installation
from shipway.services.snapshot_changes import changed_snapshot, obeyed_after_s

LONGEST_S = 30 * 86_400.0
_ON_ROUTES = frozenset(
    {SwitchKind.KILL_ROUTE, SwitchKind.LOCK_ROUTE, SwitchKind.MAX_NEW, SwitchKind.BATCH_WINDOW, SwitchKind.DRAIN_LONG}
)
_OF_MODELS = _ON_ROUTES - {SwitchKind.KILL_ROUTE}
_NUMBERS: Mapping[SwitchKind, tuple[str, int, int]] = {
    SwitchKind.MAX_NEW: ("tokens", 1, 1_000_000),
    SwitchKind.DRAIN_LONG: ("tokens", 1, 10_000_000),
    SwitchKind.BATCH_WINDOW: ("milliseconds", 0, 60_000),
}
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class SwitchRequest:
    """What an operator asks for; `value` is the text that was typed."""

    kind: str
    target: str
    value: str = ""
    expires_in_s: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Switched:
    """What was changed, and after how many seconds every worker obeyed; None when no worker runs."""

    name: str
    version: int
    obeyed_s: float | None


async def set_switch(app: Installation, request: SwitchRequest, *, actor: str | None = None) -> Switched:
    """Set a switch, in place of one of the same kind and target.

    Raises:
        UsageError: an unknown kind, route, model or value, or an expiry that is none.
        ConflictError: nothing is deployed yet.
    """
    snapshot = await app.state.snapshots.read(app.environment)
    made = await _made(app, request, snapshot, actor or app.actor)

    def change(current: Snapshot) -> Snapshot:
        return replace(current, switches=(*_without(current, made.name, app.clock.now_s()), made))

    # The intent is in the audit log before anything changes: what happened to users is never unexplained.
    await _audit(app, "switch.set", made.name, actor, asdict(made))
    written = await changed_snapshot(app, change)
    return Switched(made.name, written.version, await obeyed_after_s(app, written.version))


async def clear_switch(app: Installation, name: str, *, actor: str | None = None) -> Switched:
    """Clear a switch by its name, `kind:target`, or every one with `all`.

    Raises:
        NotFoundError: no such switch is in force.
    """
    snapshot = await app.state.snapshots.read(app.environment)
    in_force = [switch.name for switch in snapshot.switches if switch.is_on(app.clock.now_s())]
    if name not in in_force and not (name == "all" and in_force):
        known = ", ".join(in_force) or "there are none"
        raise NotFoundError(f"no switch {name!r} is in force ({known})", hint="`shipway switch list` shows them")

    def change(current: Snapshot) -> Snapshot:
        kept = () if name == "all" else _without(current, name, app.clock.now_s())
        return replace(current, switches=kept)

    await _audit(app, "switch.cleared", name, actor, {"in_force": in_force})
    written = await changed_snapshot(app, change)
    return Switched(name, written.version, await obeyed_after_s(app, written.version))


async def list_switches(app: Installation) -> list[Switch]:
    """Return the switches in force."""
    snapshot = await app.state.snapshots.read(app.environment)
    return [switch for switch in snapshot.switches if switch.is_on(app.clock.now_s())]


def _without(snapshot: Snapshot, name: str, now_s: float) -> tuple[Switch, ...]:
    # Those that expired are dropped with the first change that comes along.
    return tuple(switch for switch in snapshot.switches if switch.name != name and switch.is_on(now_s))


async def _made(app: Installation, request: SwitchRequest, snapshot: Snapshot, actor: str) -> Switch:
    kind = _kind(request.kind)
    if not snapshot.routes:
        raise ConflictError("nothing is deployed yet, so there is nothing to switch", hint="`shipway deploy RELEASE`")
    target = EVERYTHING if kind is SwitchKind.KILL_AGENTS else request.target
    if kind in _ON_ROUTES and target != EVERYTHING:
        routes = sorted(str(route.route) for route in snapshot.routes)
        if not target.strip():
            raise UsageError(f"{kind.value} needs a route: {', '.join(routes)}, or '{EVERYTHING}' for all of them")
        _known(target, "routes", routes)
        if kind in _OF_MODELS:
            await _require_models(app, snapshot, kind, target)
    models = await _models(app, snapshot)
    if kind is SwitchKind.KILL_MODEL:
        _known(target, "the models of the releases in force", models)
    if kind is SwitchKind.LOCK_ROUTE:
        _known(request.value, "the models of the releases in force", models)
    if not target or len(target) > _LONGEST_NAME or not target.isprintable():
        raise UsageError(f"{kind.value} needs a target of 1 to {_LONGEST_NAME} printable characters")
    expires_in_s = request.expires_in_s
    if expires_in_s is not None and not 0 < expires_in_s <= LONGEST_S:
        raise UsageError(f"a switch expires after more than 0 s and at most {LONGEST_S / 86_400:g} days")
    now_s = app.clock.now_s()
    return Switch(
        kind=kind,
        target=target,
        value=_value(kind, request.value),
        expires_at_s=None if expires_in_s is None else now_s + expires_in_s,
        reason=request.reason[:500],
        actor=actor,
        set_at_s=now_s,
    )


def _kind(name: str) -> SwitchKind:
    try:
        return SwitchKind(name)
    except ValueError:
        raise UsageError(f"no switch {name!r}; there are {', '.join(SwitchKind)}") from None


def _value(kind: SwitchKind, text: str) -> str | int:
    if kind is SwitchKind.LOCK_ROUTE:
        return text
    if kind not in _NUMBERS:
        if text:
            raise UsageError(f"{kind.value} takes no value, not {text[:60]!r}")
        return ""
    unit, least, most = _NUMBERS[kind]
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise UsageError(f"{kind.value} needs a whole number of {unit} from {least} to {most}, not {text[:60]!r}")
    return int(text)


def _known(name: str, title: str, known: list[str]) -> None:
    if name not in known:
        raise UsageError(f"{name[:100]!r} is not in {title} (it has {', '.join(known) or 'none'})")


async def _require_models(app: Installation, snapshot: Snapshot, kind: SwitchKind, target: str) -> None:
    """Refuse a route that is the user's own service: the gateway asks no model for it, so nothing would change."""
    stable = next(route.stable for route in snapshot.routes if route.route == target)
    if (await app.releases.get(stable)).manifest["policy"]["routes"][target].get("kind") == "http":
        raise UsageError(
            f"{kind.value}: route {target!r} is a service of its own, for which the gateway asks no model",
            hint=f"`shipway switch set kill-route {target}` stops it; limits on its answers are the service's own",
        )


async def _models(app: Installation, snapshot: Snapshot) -> list[str]:
    releases = [await app.releases.get(release) for release in snapshot.releases()]
    return sorted({alias for release in releases for alias in release.manifest["models"]})


async def _audit(app: Installation, action: str, subject: str, actor: str | None, details: dict[str, Any]) -> None:
    extra = {} if actor is None else {"for": actor}
    await app.audit(action, subject, **{**details, **extra})
