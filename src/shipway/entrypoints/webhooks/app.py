"""The HTTP face of the webhook receiver: read a body within limits, one service call, render.

202 queued    200 duplicate or ignored    400 not such a request    401 not from its sender    404 not configured
408 came too slowly    413 too long    415 another content type    429 the queue is full    503 ending, or no store
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shipway import __version__
from shipway.pipeline.webhooks.deliveries import FORM, JSON
from shipway.pipeline.webhooks.model import WAITING, EntryState, Provider
from shipway.services.webhooks.queue import RunQueue
from shipway.services.webhooks.receiving import Answer, Receiver

_BODY_S = 10.0
_SHOWN = 100
_RETRY = {"Retry-After": "30"}
_READ_ONCE = (
    *("content-type", "content-encoding", "content-length", "x-github-event", "x-github-delivery"),
    *("x-hub-signature-256", "x-gitlab-token", "idempotency-key"),
    *("webhook-id", "webhook-timestamp", "webhook-signature"),
)
_TYPES: dict[Provider, tuple[str, ...]] = {"github": (JSON, FORM), "gitlab": (JSON,)}


@dataclass(frozen=True, slots=True)
class Intake:
    """What requests are taken by; `ending` tells whether the receiver is being stopped."""

    receiver: Receiver
    queue: RunQueue
    max_body_bytes: int
    ending: Callable[[], bool]
    body_s: float = _BODY_S


def receiver_app(intake: Intake) -> FastAPI:
    """Return the HTTP application."""
    api = FastAPI(
        title="Shipway webhooks",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )

    @api.get("/health")
    async def health() -> JSONResponse:
        ending = intake.ending()
        waiting, running = intake.queue.count(WAITING), intake.queue.count({EntryState.RUNNING})
        told = {"status": "ending" if ending else "ok", "queued": waiting, "running": running}
        return JSONResponse(told, 503 if ending else 200)

    async def elsewhere(request: Request, error: Exception) -> JSONResponse:
        # A webhook with a wrong address in its settings is found by this line.
        status = error.status_code if isinstance(error, HTTPException) else 500
        told = {404: f"there is no {_shown(request.url.path)}", 405: f"{request.method[:_SHOWN]} is not taken there"}
        answer = Answer(status, {"error": told.get(status, "it is not taken")})
        if request.method == "POST":
            intake.receiver.refused("", answer)
        headers = error.headers if isinstance(error, HTTPException) else None
        return JSONResponse(dict(answer.document), status, headers)

    api.add_exception_handler(HTTPException, elsewhere)
    api.post("/github")(_hook(intake, "github"))
    api.post("/gitlab")(_hook(intake, "gitlab"))
    return api


def _hook(intake: Intake, provider: Provider) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def hook(request: Request) -> JSONResponse:
        body = _refused(intake, provider, request) or await _read(intake, request)
        if isinstance(body, Answer):
            answer = intake.receiver.refused(provider, body)
        else:
            answer = await _taken(intake, provider, request, body)
        return JSONResponse(dict(answer.document), answer.status, dict(answer.headers))

    return hook


async def _read(intake: Intake, request: Request) -> bytes | Answer:
    try:
        with anyio.fail_after(intake.body_s):
            body = await _body(request, intake.max_body_bytes)
    except TimeoutError:
        return Answer(408, {"error": f"the body did not come within {intake.body_s:g} s"})
    except _BrokenOffError:
        return Answer(400, {"error": "the body did not come to its end"})
    return _too_long(intake) if body is None else body


async def _taken(intake: Intake, provider: Provider, request: Request, body: bytes) -> Answer:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return await intake.receiver.receive(provider, headers, body, _content_type(request))


def _refused(intake: Intake, provider: Provider, request: Request) -> Answer | None:
    """Return the answer to a request whose body need not be read."""
    if intake.ending():
        return Answer(503, {"error": "the receiver is being stopped"}, _RETRY)
    if not intake.receiver.takes(provider):
        return Answer(404, {"error": f"webhooks.{provider} is not configured"})
    if _content_type(request) not in _TYPES[provider]:
        return Answer(415, {"error": f"the content type must be {' or '.join(_TYPES[provider])}"})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return Answer(415, {"error": "a compressed body is not taken"})
    twice = [name for name in _READ_ONCE if len(request.headers.getlist(name)) > 1]
    if twice:
        # Two readers could take different ones.
        return Answer(400, {"error": f"the header {twice[0]} stands twice"})
    length = request.headers.get("content-length", "0")
    return _too_long(intake) if not length.isdigit() or int(length) > intake.max_body_bytes else None


class _BrokenOffError(Exception):
    """The sender has gone."""


async def _body(request: Request, limit: int) -> bytes | None:
    """Return the body; None when it is too long, of which no more is read then."""
    found, more = bytearray(), True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise _BrokenOffError
        found += message.get("body", b"")
        more = message.get("more_body", False)
        if len(found) > limit:
            return None
    return bytes(found)


def _shown(path: str) -> str:
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_long(intake: Intake) -> Answer:
    # What was not read would be taken for the next request.
    message: dict[str, Any] = {"error": f"the body is longer than {intake.max_body_bytes} bytes"}
    return Answer(413, message, {"Connection": "close"})
