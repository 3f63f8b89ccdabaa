"""The control API's switches and flags, over the application itself."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.ids import RouteName
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.entrypoints.api.app import control_app
from shipway.registry.model import Provenance, Release, release_id
from shipway.services.application import Application, Workspace
from shipway.services.keys import KeyRequest, create_key

pytestmark = pytest.mark.anyio
PROJECT = Project.model_validate({"app": "shop", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})
FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}


class Control:
    """The API and a key of each role."""

    def __init__(self, app: Application, api: FastAPI, keys: dict[str, str]) -> None:
        self.app = app
        self._api = api
        self._keys = keys

    async def __call__(self, method: str, path: str, body: Any = None, *, role: str = "admin") -> tuple[int, Any]:
        headers = [(b"authorization", f"Bearer {self._keys[role]}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"" if body is None else orjson.dumps(body)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._api(scope, receive, send)
        return sent[0]["status"], orjson.loads(b"".join(part.get("body", b"") for part in sent[1:]))


@pytest.fixture
async def control() -> Control:
    store, root = MemoryStore(), Path("project")
    loaded = LoadedProject(root, "local", PROJECT, {})
    app = Application(loaded, Workspace(root), store, ManualClock(1000.0), "control")
    manifest: dict[str, Any] = {"models": {"small": {}}, "policy": {"routes": {"ask": {}}}}
    provenance = Provenance(created_by="t", created_at_s=0.0, commit=None, dirty=False, message="", shipway_version="0")
    release = Release(release_id(manifest), manifest, provenance)
    await app.releases.add(release)
    traffic = RouteTraffic(RouteName("ask"), release.id)
    await store.snapshots.write(Snapshot("local", routes=(traffic,)), expected_version=0)
    keys = {
        role: (await create_key(app, KeyRequest("acme", roles=roles))).secret
        for role, roles in (("admin", ("operate", "admin")), ("operate", ("operate",)), ("invoke", ("invoke",)))
    }
    return Control(app, control_app(app, leading=lambda: True), keys)


async def test_a_switch_is_set_listed_and_cleared_and_the_audit_log_names_the_key(control):
    body = {"kind": "kill-route", "target": "ask", "expires_in_s": 60, "reason": "drill"}
    status, done = await control("POST", "/switches", body)
    assert (status, done["name"]) == (200, "kill-route:ask")
    _, found = await control("GET", "/switches", role="operate")
    assert [(item["name"], item["expires_at_s"]) for item in found] == [("kill-route:ask", 1060.0)]
    assert found[0]["actor"].startswith("key:")
    assert (await control("DELETE", "/switches/kill-route:ask"))[0] == 200
    assert (await control("GET", "/switches"))[1] == []
    last = (await control.app.state.audit.entries())[-1]
    assert (last.action, last.details["for"][:4]) == ("switch.cleared", "key:")


async def test_a_switch_that_could_not_work_is_a_400_with_the_reason(control):
    status, reply = await control("POST", "/switches", {"kind": "kill-route", "target": "asks"})
    assert (status, reply["error"]["message"]) == (400, "'asks' is not in routes (it has ask)")
    assert (await control("DELETE", "/switches/kill-route:ask"))[0] == 404


async def test_flags_are_written_read_and_deleted(control):
    assert (await control("PUT", "/flags/new", FLAG))[0] == 200
    assert await control("GET", "/flags/new", role="operate") == (200, FLAG)
    assert await control("GET", "/flags") == (200, {"new": FLAG})
    status, reply = await control("PUT", "/flags/new", {**FLAG, "targeting": {"xor": 1}})
    assert status == 400
    assert "unknown operator 'xor'" in reply["error"]["message"]
    assert (await control("DELETE", "/flags/new"))[0] == 200
    assert (await control("GET", "/flags/new"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/switches", {"kind": "kill-agents"}), ("PUT", "/flags/new", FLAG), ("DELETE", "/flags/new", None)],
)
async def test_changing_needs_the_role_admin(control, method, path, body):
    assert (await control(method, path, body, role="operate"))[0] == 403
    assert (await control("GET", "/switches", role="invoke"))[0] == 403
