"""The HTTP face of an embedded engine: a raw ASGI application over a `TextEngine`; `llamacpp` and `echo` serve it.

A generation starts before the headers go out, so that a refusal is a status and not a broken stream. A client that
leaves cancels its generation.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

from shipway.adapters.openai_http.wire import (
    CutConnectionError,
    EngineRequest,
    Finish,
    Piece,
    RefusedError,
    ReplyHead,
    encoded,
    parse_request,
)

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]

_MAX_BODY_BYTES = 4 * 1024 * 1024
_JSON = b"application/json"
_ENDLESS = (b"content-length", b"1000000")
_EVENTS = b"text/event-stream; charset=utf-8"
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"


class TextEngine(Protocol):
    """What generates behind the application."""

    def models(self) -> tuple[str, ...]:
        """Return the model names to list."""
        ...

    def state(self) -> str:
        """Return `ready`, `loading`, or what went wrong."""
        ...

    def generate(self, request: EngineRequest) -> AsyncGenerator[Piece | Finish, None]:
        """Yield pieces and one finish; closing the generator cancels what is under way.

        Raises:
            RefusedError: before the first piece.
        """
        ...

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""
        ...

    async def control(self, method: str, path: str, body: bytes) -> dict[str, Any] | None:
        """Handle a path that is not OpenAI's; None when there is no such path."""
        ...

    async def start(self) -> None:
        """Begin loading; returns at once."""
        ...

    async def stop(self) -> None:
        """End what is under way and free the model."""
        ...


class EngineApp:
    """The ASGI application."""

    def __init__(self, engine: TextEngine, *, now_s: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._now_s = now_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection event."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            try:
                await self._http(scope, receive, send)
            except RefusedError as error:
                await _refuse(send, error)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                await self._engine.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._engine.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        match (method, path):
            case ("POST", "/v1/chat/completions" | "/v1/completions"):
                body = await _body(receive)
                request = parse_request(body, chat=path == "/v1/chat/completions")
                await self._watched(request, receive, send)
            case ("GET", "/v1/models"):
                listed = [{"id": name, "object": "model", "owned_by": "shipway"} for name in self._engine.models()]
                await _reply(send, 200, encoded({"object": "list", "data": listed}))
            case ("GET", "/health"):
                state = self._engine.state()
                await _reply(send, 200 if state == "ready" else 503, encoded({"state": state}))
            case ("GET", "/metrics"):
                await _reply(send, 200, self._engine.metrics(), content_type=_PROMETHEUS)
            case _:
                answered = await self._engine.control(method, path, await _body(receive))
                if answered is None:
                    raise RefusedError(404, f"{method} {path}: there is no such path", code="not_found")
                await _reply(send, 200, encoded(answered))

    async def _watched(self, request: EngineRequest, receive: Receive, send: Send) -> None:
        """Serve a generation until it ends or the client leaves, whichever comes first."""
        serving = asyncio.ensure_future(self._serve(request, send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            for task in (serving, leaving):
                task.cancel()
            await asyncio.gather(serving, leaving, return_exceptions=True)

    async def _serve(self, request: EngineRequest, send: Send) -> None:
        generation = self._engine.generate(request)
        kind = "chatcmpl" if request.is_chat else "cmpl"
        head = ReplyHead(f"{kind}-{uuid.uuid4().hex}", int(self._now_s()), request.model, request.is_chat)
        try:
            first = await anext(generation)
            if request.stream:
                await _stream(head, first, generation, (request, send))
            else:
                await _whole(head, first, generation, send)
        finally:
            await generation.aclose()


async def _whole(
    head: ReplyHead, first: Piece | Finish, rest: AsyncGenerator[Piece | Finish, None], send: Send
) -> None:
    said = []
    item = first
    try:
        while isinstance(item, Piece):
            said.append(item.text)
            item = await anext(rest)
    except CutConnectionError:
        # Without a started reply the server would make up an error reply of its own.
        await send({"type": "http.response.start", "status": 200, "headers": [*_headers(_JSON), _ENDLESS]})
        await _write(send, b'{"id":')
        raise
    await _reply(send, 200, head.whole("".join(said), item))


async def _stream(
    head: ReplyHead,
    first: Piece | Finish,
    rest: AsyncGenerator[Piece | Finish, None],
    towards: tuple[EngineRequest, Send],
) -> None:
    request, send = towards
    await send({"type": "http.response.start", "status": 200, "headers": _headers(_EVENTS)})
    if opening := head.first():
        await _write(send, opening)
    item = first
    try:
        while isinstance(item, Piece):
            await _write(send, head.piece(item.text))
            item = await anext(rest)
    except RefusedError as error:
        # The status is gone; an error event is what is left, and the stream has no [DONE].
        await _write(send, b"data: " + error.body() + b"\n\n", more=False)
        return
    await _write(send, head.last(item, include_usage=request.include_usage), more=False)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive) -> bytes:
    pieces = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise CutConnectionError("the client left before its request was whole")
        pieces += event.get("body", b"")
        if len(pieces) > _MAX_BODY_BYTES:
            raise RefusedError(413, f"the body is longer than {_MAX_BODY_BYTES} bytes")
        if not event.get("more_body"):
            return bytes(pieces)


async def _refuse(send: Send, error: RefusedError) -> None:
    extra = [(b"retry-after", str(error.retry_after_s).encode())] if error.retry_after_s is not None else []
    await _reply(send, error.status, error.body(), extra=extra)


async def _reply(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes = _JSON,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    headers = [*_headers(content_type), (b"content-length", str(len(body)).encode()), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _write(send: Send, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


def _headers(content_type: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", content_type), (b"cache-control", b"no-store")]
