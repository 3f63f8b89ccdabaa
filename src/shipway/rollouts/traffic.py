"""How a rollout's division looks in the data-plane snapshot, and whether somebody else changed it. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from shipway.core.ids import ReleaseId, RolloutId, RouteName
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.rollouts.model import Division, Rollout

_NEVER_S = 1e9


def fingerprint(snapshot: Snapshot, rollout: Rollout) -> str:
    """Return who gets what on the rollout's routes, as one readable line; keys and prices do not matter."""
    parts = [_describe(name, snapshot.route(name), rollout) for name in rollout.routes]
    return "; ".join([*parts, f"rollout {snapshot.rollout or 'none'}"])


def is_at(snapshot: Snapshot, rollout: Rollout, division: Division) -> bool:
    """Tell whether every route of the rollout has this division."""
    return fingerprint(snapshot, rollout) == _expected(rollout, division)


def is_foreign(snapshot: Snapshot, rollout: Rollout) -> bool:
    """Tell whether the routes are neither where the rollout last confirmed them nor where it is putting them."""
    known = {_expected(rollout, rollout.applied), _expected(rollout, rollout.intent), rollout.overwrite}
    return fingerprint(snapshot, rollout) not in known


def divided(
    snapshot: Snapshot, rollout: Rollout, division: Division, endpoints: Mapping[ReleaseId, Mapping[str, str]]
) -> Snapshot:
    """Return the snapshot with the rollout's routes at a division; all else stays as it is."""
    routes = tuple(
        _divided(route, rollout, division, endpoints) if route.route in rollout.routes else route
        for route in snapshot.routes
    )
    # Where stable was stopped to make room, workers have nobody to fall back on while control is silent.
    dead_man_s = _NEVER_S if rollout.times.displaced_s is not None else rollout.plan.dead_man_s
    return replace(snapshot, routes=routes, rollout=_owner(rollout, division), dead_man_s=dead_man_s)


def serves_candidate(snapshot: Snapshot, rollout: Rollout) -> bool:
    """Tell whether any route may still assign the rollout's candidate or waits for it, or the snapshot names it."""
    routes = [route for route in snapshot.routes if route.route in rollout.routes]
    return snapshot.rollout == rollout.id or any(
        route.parked or rollout.candidate in {route.candidate, route.stable, _copied(route, rollout)}
        for route in routes
    )


def is_parked(snapshot: Snapshot, rollout: Rollout) -> bool:
    """Tell whether every request of the rollout's routes waits and the candidate is out of them."""
    routes = [route for route in snapshot.routes if route.route in rollout.routes]
    return all(
        route.parked and rollout.candidate not in {route.candidate, route.stable, _copied(route, rollout)}
        for route in routes
    )


def without_candidate(
    snapshot: Snapshot, rollout: Rollout, stable: Mapping[str, str], *, parked: bool = False
) -> Snapshot:
    """Return the snapshot in which nothing is assigned to the candidate; what others put there stays.

    `stable` is where stable's routes listen. While `parked` requests wait, and the snapshot is still the rollout's.
    """
    routes = tuple(
        replace(_withdrawn(route, rollout, stable), parked=parked) if route.route in rollout.routes else route
        for route in snapshot.routes
    )
    owner = None if snapshot.rollout == rollout.id and not parked else snapshot.rollout
    return replace(snapshot, routes=routes, rollout=owner)


def _expected(rollout: Rollout, division: Division) -> str:
    shadow = division.shadow if rollout.plan.shadows else 0.0
    parts = [
        _line(
            RouteTraffic(
                RouteName(name),
                division.stable,
                division.candidate,
                division.weight_on(name),
                segments=rollout.plan.segments if division.candidate else (),
            ),
            shadow,
        )
        + (", parked" if division.parked else "")
        for name in rollout.routes
    ]
    return "; ".join([*parts, f"rollout {_owner(rollout, division) or 'none'}"])


def _owner(rollout: Rollout, division: Division) -> RolloutId | None:
    return rollout.id if division.candidate or division.parked else None


def _describe(name: str, route: RouteTraffic | None, rollout: Rollout) -> str:
    if route is None:
        return f"{name}: not deployed"
    shadow = route.shadow_share if _copied(route, rollout) else 0.0
    return _line(route, shadow) + (", parked" if route.parked else "")


def _copied(route: RouteTraffic, rollout: Rollout) -> ReleaseId | None:
    """Return the release that gets copies for the rollout; a user's own shadow is none of its business."""
    return route.shadow if rollout.plan.shadows and route.shadow == rollout.candidate else None


def _line(route: RouteTraffic, shadow: float) -> str:
    candidate = f", {route.candidate} at {route.candidate_weight!r}" if route.candidate else ""
    if route.segments:
        candidate += f" for {' or '.join(segment.named for segment in route.segments)}"
    return f"{route.route}: {route.stable}{candidate}" + (f", copies at {shadow!r}" if shadow else "")


def _divided(
    route: RouteTraffic, rollout: Rollout, division: Division, endpoints: Mapping[ReleaseId, Mapping[str, str]]
) -> RouteTraffic:
    known = dict(route.endpoints)
    for release, urls in endpoints.items():
        if route.route in urls:
            known[release] = urls[route.route]
    serving = {division.stable, division.candidate}
    copies: dict[str, Any] = {}
    if rollout.plan.shadows:
        copies = {"shadow": division.candidate if division.shadow else None, "shadow_share": division.shadow}
    return replace(
        route,
        stable=division.stable,
        candidate=division.candidate,
        candidate_weight=division.weight_on(route.route),
        salt=rollout.id if division.candidate else route.salt,
        endpoints=tuple((release, url) for release, url in sorted(known.items()) if release in serving),
        segments=rollout.plan.segments if division.candidate else (),
        parked=division.parked,
        **copies,
    )


def _withdrawn(route: RouteTraffic, rollout: Rollout, listening: Mapping[str, str]) -> RouteTraffic:
    if route.candidate == rollout.candidate:
        route = replace(route, candidate=None, candidate_weight=0.0, segments=())
    if _copied(route, rollout):
        route = replace(route, shadow=None, shadow_share=0.0)
    stable = rollout.stable if route.stable == rollout.candidate else route.stable
    known = {release: url for release, url in route.endpoints if release != rollout.candidate}
    if stable == rollout.stable and route.route in listening:
        known[stable] = listening[route.route]
    return replace(route, stable=stable, endpoints=tuple(sorted(known.items())))
