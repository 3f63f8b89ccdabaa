"""Which release gets copies of a route's requests; the data plane learns of it by the snapshot."""

from dataclasses import replace

from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ReleaseId
from shipway.core.snapshot import Snapshot
from shipway.services.application import Installation
from shipway.services.snapshot_changes import changed_snapshot


async def set_shadow(app: Installation, route: str, release: str, share: float) -> Snapshot:
    """Let a share of a route's requests be copied to a release.

    Raises:
        UsageError: the share is not in (0, 1], or the route is a service.
        NotFoundError: no such release or deployed route.
    """
    if not 0.0 < share <= 1.0:
        raise UsageError(f"--share {share:g} is not a share; give a number above 0 and up to 1")
    found = await app.releases.get(ReleaseId(release))
    served = found.manifest["policy"]["routes"].get(route)
    if served is None:
        raise NotFoundError(f"release {found.id} has no route {route!r}")
    if served["kind"] == "http":
        raise UsageError(f"route {route!r} is a service; a copy of its requests could change something twice")
    written = await changed_snapshot(app, lambda snapshot: _with(snapshot, route, found.id, share))
    await app.audit("shadow.set", route, release=found.id, share=share)
    return written


async def clear_shadow(app: Installation, route: str) -> Snapshot:
    """Let no request of a route be copied any more.

    Raises:
        NotFoundError: the route is not deployed.
    """
    written = await changed_snapshot(app, lambda snapshot: _with(snapshot, route, None, 0.0))
    await app.audit("shadow.cleared", route)
    return written


def _with(snapshot: Snapshot, route: str, release: ReleaseId | None, share: float) -> Snapshot:
    if snapshot.route(route) is None:
        known = ", ".join(sorted(item.route for item in snapshot.routes)) or "none"
        raise NotFoundError(f"route {route!r} is not deployed (deployed: {known})")
    routes = tuple(
        replace(item, shadow=release, shadow_share=share) if item.route == route else item for item in snapshot.routes
    )
    return replace(snapshot, routes=routes)
