from pathlib import Path
from typing import Any

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.core.ids import ReleaseId, RouteName
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.flags import delete_flag, list_flags, set_document, set_flag, show_flag
from shipway.services.switches import SwitchRequest, clear_switch, list_switches, set_switch

pytestmark = pytest.mark.anyio
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}


@pytest.fixture
async def app() -> RunningInstallation:
    store = MemoryStore()
    made = RunningInstallation("local", Workspace(Path("project")), store, ManualClock(1000.0), "user:test")
    manifest: dict[str, Any] = {"models": {"small": {}, "large": {}}, "policy": {"routes": {"chat": {}}}}
    provenance = Provenance(created_by="t", created_at_s=0.0, commit=None, dirty=False, message="", shipway_version="0")
    release = Release(release_id(manifest), manifest, provenance)
    await made.releases.add(release)
    traffic = RouteTraffic(RouteName("chat"), release.id)
    await store.snapshots.write(Snapshot("local", routes=(traffic,)), expected_version=0)
    return made


async def test_a_switch_is_in_the_snapshot_with_its_expiry_and_in_the_audit_log(app):
    done = await set_switch(app, SwitchRequest("lock-route", "chat", "large", expires_in_s=60, reason="bad"))
    (switch,) = (await app.state.snapshots.read("local")).switches
    assert (switch.name, switch.value, switch.expires_at_s) == ("lock-route:chat", "large", 1060.0)
    assert (done.name, done.obeyed_s) == ("lock-route:chat", None)
    (event,) = await app.state.audit.entries()
    assert (event.action, event.subject, event.details["reason"]) == ("switch.set", "lock-route:chat", "bad")


async def test_setting_it_again_replaces_it_and_expired_ones_are_dropped(app):
    await set_switch(app, SwitchRequest("kill-route", "chat", expires_in_s=5))
    await set_switch(app, SwitchRequest("max-new", "chat", "64"))
    app.clock.advance(6)
    await set_switch(app, SwitchRequest("max-new", "chat", "32"))
    (switch,) = (await app.state.snapshots.read("local")).switches
    assert (switch.name, switch.value) == ("max-new:chat", 32)


@pytest.mark.parametrize("kind", ["max-new", "batch-window", "drain-long", "lock-route"])
async def test_what_holds_for_models_is_refused_for_a_service_of_the_users_own(app, kind):
    release = await own_service(app)
    value = "large" if kind == "lock-route" else "5"
    with pytest.raises(UsageError, match=f"{kind}: route 'api' is a service of its own"):
        await set_switch(app, SwitchRequest(kind, "api", value))
    assert (await set_switch(app, SwitchRequest("kill-route", "api"))).name == "kill-route:api"
    assert release in (await app.state.snapshots.read("local")).releases()


async def own_service(app) -> ReleaseId:
    """Serve a release whose route is a process of its own."""
    manifest: dict[str, Any] = {"models": {"large": {}}, "policy": {"routes": {"api": {"kind": "http"}}}}
    release = Release(release_id(manifest), manifest, Provenance("t", 0.0))
    await app.releases.add(release)
    now = await app.state.snapshots.read("local")
    routes = (RouteTraffic(RouteName("api"), release.id),)
    await app.state.snapshots.write(Snapshot("local", routes=routes), expected_version=now.version)
    return release.id


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (SwitchRequest("kill-everything", "chat"), "no switch 'kill-everything'; there are kill-route"),
        (SwitchRequest("kill-route", ""), "kill-route needs a route: chat, or '*' for all of them"),
        (SwitchRequest("kill-route", "nowhere"), "'nowhere' is not in routes (it has chat)"),
        (
            SwitchRequest("kill-model", "huge"),
            "'huge' is not in the models of the releases in force (it has large",
        ),
        (SwitchRequest("lock-route", "chat", "huge"), "'huge' is not in the models"),
        (SwitchRequest("lock-route", "chat"), "'' is not in the models"),
        (SwitchRequest("max-new", "chat", "many"), "needs a whole number of tokens from 1 to 1000000, not 'many'"),
        (SwitchRequest("max-new", "chat", "0"), "from 1 to"),
        (SwitchRequest("kill-route", "chat", "5"), "takes no value"),
        (SwitchRequest("kill-tool", ""), "needs a target"),
        (SwitchRequest("kill-route", "chat", expires_in_s=0), "expires after more than 0 s"),
        (SwitchRequest("kill-route", "chat", expires_in_s=1e9), "at most 30 days"),
    ],
)
async def test_a_switch_that_could_not_work_is_refused_and_nothing_is_written(app, request_, said):
    with pytest.raises(UsageError) as caught:
        await set_switch(app, request_)
    assert said in caught.value.message
    assert (await app.state.snapshots.read("local")).switches == ()
    assert await app.state.audit.entries() == []


async def test_before_the_first_deploy_there_is_nothing_to_switch():
    made = RunningInstallation("local", Workspace(Path("project")), MemoryStore(), ManualClock(), "user:test")
    with pytest.raises(ConflictError, match="nothing is deployed"):
        await set_switch(made, SwitchRequest("kill-agents", ""))


async def test_clearing_takes_one_or_all_and_names_what_there_is(app):
    await set_switch(app, SwitchRequest("kill-agents", ""))
    await set_switch(app, SwitchRequest("kill-tool", "pay"))
    with pytest.raises(NotFoundError, match="kill-agents:"):
        await clear_switch(app, "kill-tool:look")
    await clear_switch(app, "kill-tool:pay")
    assert [switch.name for switch in await list_switches(app)] == ["kill-agents:*"]
    await clear_switch(app, "all", actor="key:k1")
    assert await list_switches(app) == []
    assert (await app.state.audit.entries())[-1].details["for"] == "key:k1"


async def test_a_flag_is_set_shown_listed_and_deleted_with_an_audit_entry_each(app):
    await set_flag(app, "new", FLAG)
    await set_flag(app, "other", FLAG, actor="key:k1")
    assert await show_flag(app, "new") == FLAG
    assert sorted(await list_flags(app)) == ["new", "other"]
    await delete_flag(app, "new")
    with pytest.raises(NotFoundError, match=r"no flag 'new' \(other\)"):
        await show_flag(app, "new")
    assert [event.action for event in await app.state.audit.entries()] == ["flag.set", "flag.set", "flag.deleted"]


async def test_a_bad_flag_leaves_those_in_force(app):
    await set_flag(app, "new", FLAG)
    with pytest.raises(UsageError, match="unknown operator 'xor'"):
        await set_flag(app, "new", {**FLAG, "targeting": {"xor": [1, 2]}})
    assert await show_flag(app, "new") == FLAG
    assert len(await app.state.audit.entries()) == 1


async def test_a_whole_document_replaces_all_flags_and_may_share_rules(app):
    await set_flag(app, "old", FLAG)
    rule = {"if": [{"$ref": "acme"}, "on"]}
    document = {
        "$schema": "flagd",
        "flags": {"new": {**FLAG, "targeting": rule}},
        "$evaluators": {"acme": {"==": [{"var": "tenant"}, "acme"]}},
    }
    await set_document(app, document)
    assert list(await list_flags(app)) == ["new"]
    await set_flag(app, "newer", {**FLAG, "targeting": rule})
    assert sorted(await list_flags(app)) == ["new", "newer"]
