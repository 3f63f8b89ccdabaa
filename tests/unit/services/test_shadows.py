from pathlib import Path
from typing import Any

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import RouteName
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.shadows import clear_shadow, set_shadow

pytestmark = pytest.mark.anyio


async def release_of(app: RunningInstallation, seed: int) -> Release:
    routes = {"chat": {"kind": "chat"}, "fixer": {"kind": "http"}, "new": {"kind": "chat"}}
    manifest: dict[str, Any] = {"models": {}, "policy": {"routes": routes, "seed": seed}}
    provenance = Provenance(created_by="t", created_at_s=0.0, commit=None, dirty=False, message="", shipway_version="0")
    release = Release(release_id(manifest), manifest, provenance)
    await app.releases.add(release)
    return release


@pytest.fixture
async def app() -> RunningInstallation:
    store = MemoryStore()
    made = RunningInstallation("local", Workspace(Path("project")), store, ManualClock(1000.0), "user:test")
    stable = await release_of(made, 1)
    routes = tuple(RouteTraffic(RouteName(name), stable.id) for name in ("chat", "fixer"))
    await store.snapshots.write(Snapshot("local", routes=routes), expected_version=0)
    return made


async def test_a_shadow_is_in_the_snapshot_and_in_the_audit_log_until_it_is_cleared(app):
    release = await release_of(app, 2)
    await set_shadow(app, "chat", release.id, 0.25)
    snapshot = Snapshot.from_dict((await app.state.snapshots.read("local")).to_dict())

    assert (snapshot.route("chat").shadow, snapshot.route("chat").shadow_share) == (release.id, 0.25)
    assert snapshot.route("fixer").shadow is None
    assert release.id in snapshot.releases()
    await clear_shadow(app, "chat")
    assert release.id not in (await app.state.snapshots.read("local")).releases()
    assert [event.action for event in await app.state.audit.entries()] == ["shadow.set", "shadow.cleared"]


@pytest.mark.parametrize(
    ("route", "share", "error", "said"),
    [
        ("chat", 0.0, UsageError, "not a share"),
        ("chat", 1.5, UsageError, "not a share"),
        ("fixer", 0.5, UsageError, "is a service"),
        ("nowhere", 0.5, NotFoundError, "has no route"),
        ("new", 0.5, NotFoundError, "is not deployed"),
    ],
)
async def test_a_shadow_that_cannot_be_is_refused(app, route, share, error, said):
    release = await release_of(app, 2)
    with pytest.raises(error, match=said):
        await set_shadow(app, route, release.id, share)
    with pytest.raises(NotFoundError):
        await set_shadow(app, "chat", "rel_unknown", 0.5)
    assert await app.state.audit.entries() == []
