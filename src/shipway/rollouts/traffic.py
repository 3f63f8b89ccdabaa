"""How a rollout's division looks in the data-plane snapshot, and whether somebody else changed it. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from shipway.core.ids import ReleaseId
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.rollouts.model import Division, Rollout


def fingerprint(snapshot: Snapshot, rollout: Rollout) -> str:
    """Return who gets what on the rollout's routes, as one readable line; keys and prices do not matter."""
    parts = [_describe(name, snapshot.route(name)) for name in rollout.routes]
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
    owner = rollout.id if division.candidate else None
    return replace(snapshot, routes=routes, rollout=owner, dead_man_s=rollout.plan.dead_man_s)


def serves_candidate(snapshot: Snapshot, rollout: Rollout) -> bool:
    """Tell whether any route may still assign the rollout's candidate, or the snapshot still names the rollout."""
    routes = [route for route in snapshot.routes if route.route in rollout.routes]
    return snapshot.rollout == rollout.id or any(
        rollout.candidate in {route.candidate, route.stable} for route in routes
    )


def without_candidate(snapshot: Snapshot, rollout: Rollout) -> Snapshot:
    """Return the snapshot in which nothing is assigned to the candidate; what others put there stays."""
    routes = tuple(_withdrawn(route, rollout) if route.route in rollout.routes else route for route in snapshot.routes)
    owner = None if snapshot.rollout == rollout.id else snapshot.rollout
    return replace(snapshot, routes=routes, rollout=owner)


def _expected(rollout: Rollout, division: Division) -> str:
    candidate = division.candidate
    parts = [_line(name, division.stable, candidate, division.weight) for name in rollout.routes]
    return "; ".join([*parts, f"rollout {rollout.id if candidate else 'none'}"])


def _describe(name: str, route: RouteTraffic | None) -> str:
    if route is None:
        return f"{name}: not deployed"
    return _line(name, route.stable, route.candidate, route.candidate_weight)


def _line(name: str, stable: str, candidate: str | None, weight: float) -> str:
    return f"{name}: {stable}" + (f", {candidate} at {weight!r}" if candidate else "")


def _divided(
    route: RouteTraffic, rollout: Rollout, division: Division, endpoints: Mapping[ReleaseId, Mapping[str, str]]
) -> RouteTraffic:
    known = dict(route.endpoints)
    for release, urls in endpoints.items():
        if route.route in urls:
            known[release] = urls[route.route]
    serving = {division.stable, division.candidate}
    return replace(
        route,
        stable=division.stable,
        candidate=division.candidate,
        candidate_weight=division.weight,
        salt=rollout.id if division.candidate else route.salt,
        endpoints=tuple((release, url) for release, url in sorted(known.items()) if release in serving),
    )


def _withdrawn(route: RouteTraffic, rollout: Rollout) -> RouteTraffic:
    if route.candidate == rollout.candidate:
        route = replace(route, candidate=None, candidate_weight=0.0)
    stable = rollout.stable if route.stable == rollout.candidate else route.stable
    kept = tuple((release, url) for release, url in route.endpoints if release != rollout.candidate)
    return replace(route, stable=stable, endpoints=kept)
