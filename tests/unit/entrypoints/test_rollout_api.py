"""Steering a rollout over the control API: a command is taken whole or refused in the documented shape."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.ids import RolloutId
from shipway.entrypoints.api.app import control_app
from shipway.rollouts import desk
from shipway.rollouts.plan import Plan
from shipway.services.application import Application, Workspace
from shipway.services.keys import KeyRequest, create_key

pytestmark = pytest.mark.anyio
PROJECT = Project.model_validate({"app": "shop", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})


class Control:
    """The API over one rollout that has just begun, with an admin's key."""

    def __init__(self, app: Application, secret: str) -> None:
        self._app = app
        self._api = control_app(app, leading=lambda: True)
        self._secret = secret

    async def post(self, path: str, body: bytes, *, kind: str = "application/x-www-form-urlencoded") -> tuple[int, Any]:
        headers = [(b"authorization", f"Bearer {self._secret}".encode()), (b"content-type", kind.encode())]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._api(scope, receive, send)
        return sent[0]["status"], orjson.loads(b"".join(part.get("body", b"") for part in sent[1:]))

    async def command(self) -> tuple[str, str] | None:
        """Return the command that waits for the controller, and its reason."""
        row, _ = await desk.load(self._app.state.documents, RolloutId("ro_1"))
        return None if row.command is None else (row.command.kind.value, row.command.reason)


@pytest.fixture
async def control() -> Control:
    loaded = LoadedProject(Path("project"), "local", PROJECT, {})
    app = Application(loaded, Workspace(Path("project")), MemoryStore(), ManualClock(1000.0), "control")
    row = desk.new_rollout(
        RolloutId("ro_1"), "local", ("ask",), releases=("old", "new"), plan=Plan(), now_s=app.clock.now_s()
    )
    await desk.start(app.state.documents, row, actor="user:ada")
    return Control(app, (await create_key(app, KeyRequest("acme", roles=("operate", "admin")))).secret)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{bad", "the body is no JSON"),
        (b"[]", "not an object with `reason` alone, but list"),
        (b'"why"', "not an object with `reason` alone, but str"),
        (b'{"raeson": "x"}', "not an object with `reason` alone, but 'raeson'"),
        (b'{"reason": 5}', "reason: must be text, not 5"),
        (b'{"reason": null}', "reason: must be text, not null"),
        (b'{"reason": "' + b"x" * 501 + b'"}', "reason: 501 characters; 500 at most"),
        (b"x" * 20_000, "the body has 20000 bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
async def test_a_command_whose_reason_cannot_be_read_is_refused_and_not_carried_out(control, body, said, kind):
    status, found = await control.post("/rollouts/ro_1/pause", body, kind=kind)

    assert (status, found["error"]["type"]) == (400, "UsageError")
    assert said in found["error"]["message"]
    assert found["request_id"].startswith("req_")
    assert await control.command() is None


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
async def test_the_reason_is_kept_whatever_content_type_the_client_says(control, kind):
    status, found = await control.post("/rollouts/ro_1/pause", b'{"reason": "a complaint"}', kind=kind)

    assert (status, found["rollout"]) == (200, "ro_1")
    assert await control.command() == ("pause", "a complaint")


async def test_a_command_needs_no_body(control):
    assert (await control.post("/rollouts/ro_1/abort", b""))[0] == 200
    assert await control.command() == ("abort", "")


async def test_an_unknown_command_is_refused_with_those_that_there_are(control):
    status, found = await control.post("/rollouts/ro_1/stop", b"")

    assert (status, found["error"]["message"]) == (400, "there is no command 'stop'")
    assert found["error"]["hint"] == "use one of pause, resume, promote, abort, approve"


async def test_what_the_framework_itself_refuses_has_the_documented_shape_too(control):
    status, found = await control.post("/switches", b'{"kind": "kill-route"}')
    assert (status, found["error"]["type"]) == (400, "UsageError")
    assert "Content-Type: application/json" in found["error"]["hint"]
    status, found = await control.post("/nowhere", b"")
    assert (status, found["error"]["message"]) == (404, "there is no POST /nowhere")
    status, found = await control.post("/releases", b"")
    assert (status, found["error"]["type"]) == (405, "UsageError")
