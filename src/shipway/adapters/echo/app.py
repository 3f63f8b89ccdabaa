"""The echo engine's HTTP face: the plain engine's, and before it what `surface` adds."""

import json
from collections.abc import Iterator
from typing import Any

from shipway.adapters.echo.server import EchoEngine
from shipway.adapters.echo.surface import (
    chat_events,
    chat_reply,
    embeddings_reply,
    needs_surface,
    rerank_reply,
    response_events,
    response_reply,
)
from shipway.adapters.openai_http.asgi import EngineApp, Event, Receive, Scope, Send
from shipway.adapters.openai_http.process import engine_server
from shipway.adapters.openai_http.wire import RefusedError, encoded

_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]
_WHOLE = {"/v1/embeddings": embeddings_reply, "/v1/rerank": rerank_reply}
_OURS = frozenset({"/v1/chat/completions", "/v1/responses", *_WHOLE})


class EchoApp(EngineApp):
    """The ASGI application of the echo engine."""

    def __init__(self, engine: EchoEngine) -> None:
        super().__init__(engine)
        self._echo = engine

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["method"] != "POST" or path not in _OURS:
            await super()._http(scope, receive, send)
            return
        raw = await _whole_body(receive)
        body = _parsed(raw)
        if path == "/v1/chat/completions" and not needs_surface(body):
            await super()._http(scope, _Replayed(raw, receive), send)
            return
        await self._echo.fail_before(str(body.get("model", "")))
        if path in _WHOLE:
            await _reply(send, encoded(_WHOLE[path](body)))
        elif path == "/v1/responses":
            await self._serve_response(body, send)
        elif body.get("stream"):
            events = (b"data: " + encoded(event) + b"\n\n" for event in chat_events(body))
            await _stream(send, events, b"data: [DONE]\n\n")
        else:
            await _reply(send, encoded(chat_reply(body)))

    @staticmethod
    async def _serve_response(body: dict[str, Any], send: Send) -> None:
        if not body.get("stream"):
            await _reply(send, encoded(response_reply(body)))
            return
        await _stream(send, (_typed(event) for event in response_events(body)), b"")


class _Replayed:
    """A `receive` that gives a body once more."""

    def __init__(self, raw: bytes, receive: Receive) -> None:
        self._raw: bytes | None = raw
        self._receive = receive

    async def __call__(self) -> Event:
        """Return the next event."""
        if self._raw is None:
            return await self._receive()
        raw, self._raw = self._raw, None
        return {"type": "http.request", "body": raw, "more_body": False}


def _typed(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\n".encode() + b"data: " + encoded(event) + b"\n\n"


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RefusedError(400, "the body is not a JSON object")
    return value


async def _whole_body(receive: Receive) -> bytes:
    pieces = bytearray()
    while True:
        event = await receive()
        pieces += event.get("body", b"")
        if event["type"] == "http.disconnect" or not event.get("more_body"):
            return bytes(pieces)


async def _reply(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _JSON})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, events: Iterator[bytes], last: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
    for event in events:
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": last})


def run_echo(host: str, port: int, *, token_delay_ms: float = 0.0) -> None:
    """Serve the echo engine on host and port until SIGTERM."""
    engine_server(EchoApp(EchoEngine(token_delay_ms=token_delay_ms)), host, port).run()
