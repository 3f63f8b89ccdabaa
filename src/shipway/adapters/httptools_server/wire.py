"""One reply on its way to a client: head and body as bytes, framed, with the client's pace respected.

Implements `gateway.exchange.Wire`; `connection` makes one for each request.
"""

import asyncio
import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from shipway.core.errors import UsageError
from shipway.gateway.outbox import OutboxTransport

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NO_CONTENT = 204
_NOT_MODIFIED = 304


class ReplyWire:
    """Writes one reply to a transport.

    `whole` after the last byte was handed over; `keeps` says whether the connection may carry another request.
    """

    __slots__ = ("_bodiless", "_chunked", "_clock", "_head", "_loop", "_old", "_transport", "keeps", "room", "whole")

    def __init__(
        self, transport: OutboxTransport, loop: asyncio.AbstractEventLoop, *, method: str, old: bool, keeps: bool
    ) -> None:
        self._transport = transport
        self._loop = loop
        # HTTP/1.0 knows no chunks: such a body ends with the connection.
        self._old = old
        self._bodiless = method == "HEAD"
        self._chunked = False
        self._head = b""
        self.keeps = keeps
        self.whole = False
        self.room: asyncio.Future[None] | None = None

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Make the head; it leaves with the first bytes of the body, at the latest when the loop turns.

        Raises:
            UsageError: a header that would end the line it stands on.
        """
        named = {}
        text = ""
        count = 0
        for name, value in headers:
            named[name] = value
            if name != "connection":
                text += f"{name}: {value}\r\n"
                count += 1
        if text.count("\n") != count or text.count("\r") != count or "\0" in text:
            raise UsageError("a header of the reply holds a line break", hint="report the route that makes it")
        if named.get("connection") == "close":
            self.keeps = False
        sized = "content-length" in named or "transfer-encoding" in named
        self._bodiless = self._bodiless or status in {_NO_CONTENT, _NOT_MODIFIED}
        self._chunked = not sized and not self._bodiless and not self._old
        if not sized and self._old:
            self.keeps = False
        framing = "transfer-encoding: chunked\r\n" if self._chunked else ""
        end = "\r\n" if self.keeps else "connection: close\r\n\r\n"
        line = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
        rest = f"{framing}{end}".encode()
        self._head = b"".join((f"{line}{text}".encode("latin-1", "replace"), date_line(), rest))

    def stream(self, lines: bytes) -> None:
        """Begin a 200 reply in chunks by whole header lines."""
        self._chunked = True
        end = b"transfer-encoding: chunked\r\n" + (b"\r\n" if self.keeps else b"connection: close\r\n\r\n")
        self._head = b"".join((b"HTTP/1.1 200 OK\r\n", lines, date_line(), end))

    @property
    def has_begun(self) -> bool:
        """Return whether the head has been sent."""
        return self._chunked and not self._head

    def flush_soon(self) -> None:
        """Send the head when the loop turns, unless a piece of the body takes it along before."""
        self._loop.call_soon(self._flush)

    def push(self, data: bytes) -> bool:
        """Send a piece of the body; False when the client reads slowly."""
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._head or self._bodiless:
            self._send(data)
        elif data:
            self._transport.write(data)
        return self.room is None

    def way_out(self) -> OutboxTransport | None:
        """Return where whole chunks go as they came: when the head has left, and the body is made of chunks."""
        return self._transport if self._chunked and not self._head and not self._bodiless else None

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client reads slowly."""
        if not self.push(data) and self.room is not None:
            await self.room

    def finish(self, data: bytes) -> None:
        """Send the last piece."""
        self.whole = True
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        self._send(data)

    def _send(self, data: bytes) -> None:
        if self._bodiless:
            data = b""
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            self._transport.write(data)

    def _flush(self) -> None:
        if self._head:
            self._send(b"")


_date: tuple[int, bytes] = (0, b"")


def date_line() -> bytes:
    """Return the date header; made once a second."""
    global _date  # noqa: PLW0603 - a cache of a pure function of time
    now_s = int(time.time())
    if _date[0] != now_s:
        _date = (now_s, f"date: {formatdate(now_s, usegmt=True)}\r\n".encode())
    return _date[1]
