"""One HTTP/1.1 connection to an engine, for one request at a time; `client` pools them."""

import asyncio
from collections.abc import AsyncIterable, Callable

from shipway.adapters.httptools_client.known_replies import KnownReplies
from shipway.adapters.httptools_client.receiver import ReplyReceiver
from shipway.gateway.outbox import Outbox
from shipway.gateway.ports import EngineBrokenError, ReplyTaker

_TAIL_WAIT_S = 0.1


class EngineConnection(ReplyReceiver):
    """A connection and the reply that is arriving on it.

    It is the `EngineResponse` too: from sending to `close` it belongs to one request.
    """

    def __init__(self, give_back: Callable[["EngineConnection"], None], known: KnownReplies, outbox: Outbox) -> None:
        super().__init__(known, outbox)
        self._give_back = give_back
        self._room: asyncio.Future[None] | None = None
        self._half_sent = False
        self.idle_since_s = 0.0

    @property
    def usable(self) -> bool:
        """Return whether another request may be sent."""
        return self._failure is None and self._transport is not None and not self._transport.is_closing()

    async def request(
        self, head: bytes, body: bytes | AsyncIterable[bytes], *, size: int | None, bodiless: bool
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
            await self.arrived()
            return
        self._write(head)
        sending = asyncio.ensure_future(self._send(body, size))
        try:
            await self.arrived()
        finally:
            # A reply that comes early ends the sending, and the connection with it.
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def post(self, request: bytes, taker: ReplyTaker, streams: bool) -> None:  # noqa: FBT001 - compiled
        """Send a whole request; its reply goes to `taker`, piece by piece when it `streams`."""
        self._reply.expect(bodiless=False)
        self._headers = None
        self._half_sent = False
        self._taker = taker
        self._streams = streams
        self._is_first = True
        self._write(request)

    def detach(self) -> None:
        """Tell the taker nothing more; the reply is to be read as a response."""
        self._taker = None
        self._is_first = self._streams = self._pours = False
        self._stop_pouring()

    def leave(self) -> None:
        """Give the connection back when the rest of its reply has come; that is thrown away."""
        self._stop_pouring()
        self._taker = None
        self._tail = self._loop.call_later(_TAIL_WAIT_S, self.abort)
        self._end_tail()

    def close(self) -> None:
        """Give the connection back, or cut it when the reply was not read to its end."""
        if self.usable and not self._reply.last and not self._reply.body and not self._half_sent:
            if self._holding:
                self._hold(on=False)
            self._give_back(self)
        else:
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        super().connection_lost(error)
        self.resume_writing()

    def pause_writing(self) -> None:
        """Hold a streamed body back."""
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Go on sending it."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def _send(self, body: AsyncIterable[bytes], size: int | None) -> None:
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
