"""The reply to one request on a WebSocket: events become text messages; `websocket` makes one for each request.

Implements `gateway.exchange.Wire`, so that a request on a socket takes the same way through the gateway as any other.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from shipway.gateway.stream import EventSplitter

_DONE = b"[DONE]"
_ERROR_STATUS = 400


class SocketWire:
    """Cuts a reply into messages.

    `spoke_last` says that the last message was one that ends a reply: an object with `error`. `room` makes writing
    wait.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._status = 0
        self._headers: dict[str, str] = {}
        self._events: EventSplitter | None = None
        self._body = b""
        self.spoke_last = False
        self.whole = False
        self.room: asyncio.Future[None] | None = None

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Note status and headers; a message has neither."""
        self._status = status
        self._headers = dict(headers)
        if self._headers.get("content-type", "").startswith("text/event-stream"):
            self._events = EventSplitter()

    def flush_soon(self) -> None:
        """Do nothing: a message leaves when it is whole."""

    def push(self, data: bytes) -> bool:
        """Send the messages that are whole; False when the client reads slowly."""
        self._take(data)
        return self.room is None

    async def write(self, data: bytes) -> None:
        """Send the messages that are whole; waits while the client reads slowly."""
        if not self.push(data) and self.room is not None:
            await self.room

    def way_out(self) -> None:
        """Return nothing: a message is no chunk."""

    def finish(self, data: bytes) -> None:
        """Send the rest."""
        self._take(data)
        if self._events is not None:
            rest = self._events.rest()
            if rest.strip():
                self._event(rest)
        elif self._status >= _ERROR_STATUS:
            self._send(orjson.dumps(self._told()).decode())
            self.spoke_last = True
        elif self._body:
            self._send(self._body.decode())
        self.whole = True

    def _take(self, data: bytes) -> None:
        if self._events is None:
            self._body += data
            return
        for event in self._events.feed(data):
            self._event(event)

    def _event(self, event: bytes) -> None:
        payload = b"\n".join([line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")])
        if not payload or payload == _DONE:
            return
        # An event that ends a stream badly begins with its error, in every shape that the gateway has.
        self.spoke_last = payload.startswith((b'{"error":', b'{"type":"error"'))
        self._send(payload.decode("utf-8", "replace"))

    def _told(self) -> dict[str, Any]:
        told: dict[str, Any] = orjson.loads(self._body)
        told["status"] = self._status
        after = self._headers.get("retry-after")
        if after is not None:
            told["retry_after"] = int(after) if after.isdigit() else after
        return told
