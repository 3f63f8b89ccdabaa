"""One HTTP/1.1 connection to an engine, for one request at a time; `client` pools them.

The reply is parsed in the transport's own callback: no task, no stream object and no copy stands between the socket and
whoever reads it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

from shipway.adapters.httptools_client.reply import Reply
from shipway.gateway.ports import EngineBrokenError

_READ_AHEAD_BYTES = 128 * 1024
"""What is held of a body that nobody takes; then the engine has to wait."""


class EngineConnection(asyncio.Protocol):
    """A connection and the reply that is arriving on it.

    It is the `EngineResponse` too: from sending to `close` it belongs to one request.
    """

    def __init__(self, give_back: Callable[["EngineConnection"], None]) -> None:
        self._give_back = give_back
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reply = Reply()
        self._failure: EngineBrokenError | None = None
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._holding = False
        self._half_sent = False
        self._headers: tuple[tuple[str, str], ...] | None = None
        self.idle_since_s = 0.0

    @property
    def usable(self) -> bool:
        """Return whether another request may be sent."""
        return self._failure is None and self._transport is not None and not self._transport.is_closing()

    async def request(
        self, head: bytes, body: bytes | AsyncIterator[bytes], *, size: int | None, bodiless: bool
    ) -> None:
        """Send a request and return when the reply's head has arrived.

        `size` is the length that the head promises for a streamed body, None when it promises chunks; `bodiless` for
        HEAD.

        Raises:
            EngineBrokenError: the connection ended before.
        """
        self._reply.expect(bodiless=bodiless)
        self._headers = None
        self._half_sent = not isinstance(body, bytes)
        if isinstance(body, bytes):
            self._write(head + body)
            await self._head()
            return
        self._write(head)
        sending = asyncio.ensure_future(self._send(body, size))
        try:
            await self._head()
        finally:
            # A reply that comes early ends the sending, and the connection with it.
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return self._reply.status

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers in order, names in lower case."""
        if self._headers is None:
            self._headers = tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in self._reply.fields
            )
        return self._headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            EngineBrokenError: the connection ended before the body was whole.
        """
        reply = self._reply
        while True:
            while reply.body:
                data = reply.body.popleft()
                reply.buffered -= len(data)
                if self._holding and reply.buffered < _READ_AHEAD_BYTES:
                    self._hold(on=False)
                yield data
            if reply.ended:
                return
            if self._failure is not None:
                raise self._failure
            await self._more()

    async def whole(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            EngineBrokenError: the connection ended before, or the body is larger than the limit.
        """
        reply = self._reply
        while not reply.ended and reply.received <= limit_bytes:
            if self._failure is not None:
                raise self._failure
            if self._holding:
                self._hold(on=False)
            await self._more()
        if reply.received > limit_bytes:
            raise EngineBrokenError(f"the engine's reply is larger than {limit_bytes} bytes")
        parts, reply.body = reply.body, deque()
        reply.buffered = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Give the connection back, or cut it when the reply was not read to its end."""
        if self.usable and not self._reply.last and not self._reply.body and not self._half_sent:
            self._give_back(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came and tell whoever waits."""
        try:
            self._reply.feed(data)
        except EngineBrokenError as error:
            self._fail(error)
            return
        if self._reply.buffered > _READ_AHEAD_BYTES and not self._holding:
            self._hold(on=True)
        self._tell()

    def eof_received(self) -> bool:
        """End a body that has no other end; the transport closes itself."""
        self._reply.end_of_file()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        reason = "the engine closed the connection" if error is None else f"the connection broke ({error!r})"
        self._transport = None
        self._fail(EngineBrokenError(f"{reason} before its reply was whole"))
        self.resume_writing()

    def pause_writing(self) -> None:
        """Hold a streamed body back."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Go on sending it."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    async def _send(self, body: AsyncIterator[bytes], size: int | None) -> None:
        sent = 0
        try:
            async for data in body:
                sent += len(data)
                if data and (size is None or sent <= size):
                    self._write(b"%x\r\n%b\r\n" % (len(data), data) if size is None else data)
                if self._room is not None:
                    await self._room
        except Exception as error:
            self._fail(EngineBrokenError(f"the request's body could not be read: {error!r}"))
            raise
        if size is None:
            self._write(b"0\r\n\r\n")
        elif sent != size:
            # The engine would wait for the rest, or read it from the next request.
            self._fail(EngineBrokenError(f"the request's body has {sent} bytes, its head said {size}"))
            return
        self._half_sent = False

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def _head(self) -> None:
        while not self._reply.status:
            if self._failure is not None:
                raise self._failure
            await self._more()

    async def _more(self) -> None:
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _hold(self, *, on: bool) -> None:
        self._holding = on
        if self._transport is None:
            return
        if on:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _fail(self, error: EngineBrokenError) -> None:
        if self._failure is None:
            self._failure = error
        self.abort()
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
