"""The HTTP face of the webhook receiver: statuses, limits, and that nothing is read before it may be."""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pipeline.webhooks.payloads import github_push
from tests.unit.services.webhooks.hooks import SECRET, Hook, settings

from shipway.config.sections.webhooks import Webhooks
from shipway.entrypoints.webhooks.app import Intake, receiver_app

pytestmark = pytest.mark.anyio
BODY = json.dumps(github_push()).encode()


def signature(body: bytes) -> str:
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Web:
    """The application, asked as a server asks it."""

    hook: Hook
    ending: bool = False
    read: int = 0
    gone: bool = False
    late: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    async def __call__(
        self, method: str, path: str, body: bytes = b"", *, more: Any = (), parts: int = 1, **headers: str
    ) -> tuple[int, Any]:
        intake = Intake(self.hook.receiver, self.hook.queue, 2048, lambda: self.ending, 0.01 if self.late else 30)
        given = {"content_type": "application/json", "content_length": str(len(body)), **headers}
        raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items() if value]
        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [*raw, *more]}
        left = [body] * parts
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            self.read += 1
            if self.late:
                await anyio.sleep_forever()
            if self.gone:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

        async def send(message: Any) -> None:
            sent.append(message)

        await receiver_app(intake)(scope, receive, send)
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], json.loads(b"".join(part.get("body", b"") for part in sent[1:]))

    async def push(self, body: bytes = BODY, **headers: Any) -> tuple[int, Any]:
        return await self(
            "POST", "/github", body, **{"x_github_event": "push", "x_hub_signature_256": signature(body), **headers}
        )


@pytest.fixture
async def web() -> Web:
    return Web(await Hook().opened())


async def test_a_push_is_202_and_again_200(web):
    status, answer = await web.push()
    again = await web.push()

    assert (status, answer["status"]) == (202, "queued")
    assert again == (200, {"status": "duplicate", "reason": "it was taken before", "run": answer["run"]})


async def test_health_says_how_many_wait(web):
    await web.push()

    assert await web("GET", "/health") == (200, {"status": "ok", "queued": 1, "running": 0})


async def test_githubs_form_is_taken_and_gitlabs_is_not(web):
    form = b"payload=" + BODY.replace(b" ", b"%20")
    urlencoded = "application/x-www-form-urlencoded; charset=utf-8"

    assert (await web.push(form, content_type=urlencoded))[0] == 202
    assert (await web("POST", "/gitlab", b"{}", content_type=urlencoded))[0] == 415


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": ""},
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_encoding": "gzip"},
    ],
)
async def test_another_content_is_415_and_not_read(web, headers):
    assert (await web.push(**headers))[0] == 415
    assert web.read == 0


@pytest.mark.parametrize("length", ["2049", "9" * 40, "-1", "ten"])
async def test_a_body_that_says_it_is_too_long_is_413_and_not_read(web, length):
    assert (await web.push(content_length=length))[0] == 413
    assert (web.read, web.headers["connection"]) == (0, "close")


async def test_a_body_that_becomes_too_long_is_413_and_not_read_on(web):
    assert (await web.push(b"x" * 1000, content_length="", parts=1000))[0] == 413
    assert web.read == 3


async def test_a_sender_that_goes_in_the_middle_queues_nothing(web):
    web.gone = True

    assert (await web.push())[0] == 400
    assert web.hook.states() == []


async def test_a_body_that_does_not_come_is_408(web):
    web.late = True

    assert (await web.push())[0] == 408


async def test_a_wrong_signature_is_401_whatever_the_body(web):
    assert (await web.push(x_hub_signature_256="sha256=" + "0" * 64))[0] == 401
    assert (await web.push(b"{", x_hub_signature_256=""))[0] == 401
    assert (await web.push(b"{"))[0] == 400


async def test_a_header_that_is_read_and_stands_twice_is_400(web):
    twice = [(b"x-hub-signature-256", signature(BODY).encode())]

    assert (await web.push(more=twice))[0] == 400
    assert web.read == 0
    assert (await web.push(more=[(b"via", b"a"), (b"via", b"b")]))[0] == 202


async def test_an_ending_receiver_is_503_with_the_time_to_come_again(web):
    web.ending = True

    assert (await web.push())[0] == 503
    assert (web.read, web.headers["retry-after"]) == (0, "30")
    assert (await web("GET", "/health"))[1]["status"] == "ending"


async def test_a_provider_that_is_not_configured_is_404():
    only = Webhooks.model_validate({"repository": "../x", "github": {"secret": {"env": "HOOK"}}})
    web = Web(await Hook(settings=only).opened())

    assert (await web("POST", "/gitlab", b"{}"))[0] == 404


async def test_a_full_queue_is_429(web):
    web.hook = await Hook(settings=settings(max_queued=1, rules=[{"branch": "*"}])).opened()
    await web.push()

    assert (await web.push(json.dumps(github_push("refs/heads/b")).encode()))[0] == 429
    assert web.headers["retry-after"] == "60"


@pytest.mark.parametrize(("method", "path"), [("GET", "/github"), ("PUT", "/gitlab"), ("POST", "/health")])
async def test_another_method_is_405(web, method, path):
    assert (await web(method, path))[0] == 405


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/github/", "/queue"])
async def test_there_is_nothing_else(web, path):
    assert (await web("GET", path))[0] == 404


@pytest.mark.parametrize(
    ("changed", "status", "reason"),
    [
        ({"body": b"no json"}, 400, "the body does not hold JSON"),
        ({"body": json.dumps(github_push("refs/heads/a..b")).encode()}, 400, "a..b"),
        ({"content_type": "text/plain"}, 415, "the content type must be"),
        ({"content_encoding": "gzip"}, 415, "compressed"),
        ({"content_length": "9999"}, 413, "longer than 2048 bytes"),
        ({"x_hub_signature_256": "sha256=00"}, 401, "X-Hub-Signature-256"),
    ],
)
async def test_each_refused_request_is_one_log_line_without_its_body(web, changed, status, reason):
    assert (await web.push(**changed))[0] == status

    ((event, told),) = web.hook.notes
    assert (event, told["provider"], told["status"]) == ("webhook_refused", "github", status)
    assert reason in told["reason"]
    assert set(told) <= {"provider", "status", "reason", "size_bytes"}


async def test_requests_that_nobody_can_take_are_log_lines_too(web):
    web.hook.settings = Webhooks.model_validate({"repository": "../x", "github": {"secret": {"env": "HOOK"}}})
    await web("POST", "/gitlab", b"{}")
    await web("POST", "/webhooks/" + "x" * 300)
    await web("GET", "/anything")
    web.ending = True
    await web.push()

    assert {event for event, _ in web.hook.notes} == {"webhook_refused"}
    assert [(told["status"], told["reason"]) for _, told in web.hook.notes] == [
        (404, "webhooks.gitlab is not configured"),
        (404, "there is no /webhooks/" + "x" * 90 + "…"),
        (503, "the receiver is being stopped"),
    ]


@given(
    body=st.binary(max_size=300),
    names=st.lists(st.sampled_from(["x_github_event", "x_github_delivery", "content_type"]), unique=True),
    text=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40),
    good=st.booleans(),
)
async def test_whatever_comes_is_answered_below_500(body, names, text, good):
    web = Web(await Hook().opened())
    headers = dict.fromkeys(names, text)
    signed = signature(body) if good else text

    status, answer = await web.push(body, **{**headers, "x_hub_signature_256": signed})
    assert status in {200, 400, 401, 415}
    assert isinstance(answer, dict)
