"""The receiving side of a connection to an engine: bytes become a reply, and whoever waits for it learns of it.

The reply is parsed in the transport's own callback: no task, no stream object and no copy stands between the socket and
whoever reads it. There are three ways of waiting: a task that asks for pieces (`chunks`, `whole`), a callback that gets
each piece as it comes (`pour`), and a taker that gets the whole (`connection.EngineConnection.post`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

from shipway.adapters.httptools_client.known_replies import KnownReplies
from shipway.adapters.httptools_client.reply import Reply, chunk_bytes, chunk_start
from shipway.gateway.outbox import Outbox, OutboxTransport
from shipway.gateway.ports import DirectSink, EngineBrokenError, EngineLostError, ReplyTaker, WayOut
from shipway.gateway.replies import reply_too_large

_OK = 200
_LINE_END = b"\r\n"
_LONGEST_SIZE = 9
_READ_AHEAD_BYTES = 128 * 1024
"""What is held of a body that nobody takes; then the engine has to wait."""

Sink = Callable[[bytes], bool]


class ReplyReceiver:
    """A connection's reply while it arrives.

    An `asyncio.Protocol` without inheriting from it, which a compiled class could not.
    """

    def __init__(self, known: KnownReplies, outbox: Outbox) -> None:
        self._known = known
        self._outbox = outbox
        self._direct: DirectSink | None = None
        self._way: WayOut | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: OutboxTransport | None = None
        self._reply = Reply()
        self._failure: EngineBrokenError | None = None
        self._news: asyncio.Future[None] | None = None
        self._holding = False
        self._headers: tuple[tuple[str, str], ...] | None = None
        self._taker: ReplyTaker | None = None
        self._sink: Sink | None = None
        self._sink_error: Exception | None = None
        self._is_first = self._streams = self._pours = False
        self._tail: asyncio.TimerHandle | None = None

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
            EngineBrokenError: the connection ended before.
            RefusedError: 502, the body is larger than the limit.
        """
        reply = self._reply
        while not reply.ended and reply.received <= limit_bytes:
            if self._failure is not None:
                raise self._failure
            if self._holding:
                self._hold(on=False)
            await self._more()
        if reply.received > limit_bytes:
            raise reply_too_large(limit_bytes)
        parts, reply.body = reply.body, deque()
        reply.buffered = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pour(self, sink: Sink, direct: DirectSink | None = None) -> bool:
        """Give each piece of the body to `sink` as it comes, until that returns False or the body ends.

        Returns whether the body has ended. No task is woken for a piece. Chunks that `direct` knows are passed on as
        they came.

        Raises:
            EngineBrokenError: the connection ended before the body was whole; whatever `sink` raised.
        """
        self._sink, self._direct = sink, direct
        try:
            while self._sink_error is None and self._pass_on() and self._failure is None:
                await self._more()
        finally:
            self._stop_pouring()
        error, self._sink_error = self._sink_error, None
        if error is not None:
            raise error
        if self._failure is not None and not self._reply.ended:
            raise self._failure
        return self._reply.ended and not self._reply.body

    def close(self) -> None:
        """Give the connection back, or cut it when the reply was not read to its end."""
        self.abort()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = OutboxTransport(cast("asyncio.Transport", transport), self._outbox)

    def data_received(self, data: bytes) -> None:
        """Parse what came and tell whoever waits."""
        if self._reply.is_between_chunks and self._sink is not None:
            # Nothing lies before it: what had come was passed on.
            data = self._unread_of(data, self._sink)
            if not data:
                return
        first, self._is_first = self._is_first, False
        if first and self._taken_whole(data):
            return
        try:
            self._reply.feed(data)
        except EngineBrokenError as error:
            self._fail(error)
            return
        if first and self._reply.ended and not self._reply.last:
            self._known.learn(data)
        if self._tail is not None:
            self._end_tail()
            return
        if self._sink is not None and self._pass_on():
            return
        if self._reply.buffered > _READ_AHEAD_BYTES and not self._holding:
            self._hold(on=True)
        self._tell()

    def _unread_of(self, data: bytes, sink: Sink) -> bytes:
        """Pass whole chunks on that need no parser; returns the rest."""
        direct = self._direct
        if direct is not None:
            if self._way is None:
                self._way = direct.way_out()
            if self._way is not None:
                known = self._known_bytes(data, direct)
                if known:
                    # All that came together leaves at once.
                    self._way.write_now(data if known == len(data) else data[:known])
                    if not direct.passed():
                        self._stop_pouring()
                        self._tell()
                    return data[known:]
        held = self._reply.chunk_in(data)
        if held is None:
            return data
        if not self._passed(held, sink):
            self._tell()
        return b""

    def _known_bytes(self, data: bytes, direct: DirectSink) -> int:
        """Return how many bytes at the beginning are whole chunks that may be passed on as they are."""
        size = len(data)
        start = chunk_start(size)
        if data.startswith(start) and data.endswith(_LINE_END):
            return size if direct.knows(data, len(start), size - 2) else 0
        at = 0
        while at < size:
            line_end = data.find(_LINE_END, at, at + _LONGEST_SIZE)
            if line_end < 0:
                break
            start_at = line_end + 2
            end = start_at + chunk_bytes(data[at:line_end])
            if end <= start_at or not data.startswith(_LINE_END, end) or not direct.knows(data, start_at, end):
                break
            at = end + 2
        return at

    def _stop_pouring(self) -> None:
        """Give nobody anything any more."""
        self._sink = self._direct = self._way = None

    def _taken_whole(self, data: bytes) -> bool:
        """Give a reply with a known head to the taker without reading it; False when it has to be read."""
        body, taker = self._known.body_of(data), self._taker
        if body is None or taker is None:
            return False
        # If it fails, it is not told of the connection's end as well.
        self._taker = None
        if not taker.answered(body):
            self._taker = taker
            return False
        self._reply.ended = True
        self.close()
        return True

    def _pass_on(self) -> bool:
        """Give what has come to the sink; False when it has to be told of the end, or wants no more for now."""
        reply, sink = self._reply, self._sink
        while reply.body and sink is not None:
            data = reply.body.popleft()
            reply.buffered -= len(data)
            if not self._passed(data, sink):
                sink = None
        if self._holding and reply.buffered < _READ_AHEAD_BYTES:
            self._hold(on=False)
        return sink is not None and not reply.ended

    def _passed(self, data: bytes, sink: Sink) -> bool:
        """Give a piece to the sink; False when it wants no more for now."""
        try:
            goes_on = sink(data)
        except Exception as error:  # noqa: BLE001 - nobody stands above a callback; `pour` raises it
            self._sink_error = error
            goes_on = False
        if not goes_on:
            self._stop_pouring()
        return goes_on

    def eof_received(self) -> bool:
        """End a body that has no other end; the transport closes itself."""
        self._reply.end_of_file()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Tell whoever waits."""
        reason = "the engine closed the connection" if error is None else f"the connection broke ({error!r})"
        self._transport = None
        self._fail(EngineLostError(f"{reason} before its reply was whole"))

    async def arrived(self) -> None:
        """Return when the reply's headers are there; see the port."""
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
        if self._tail is not None:
            self._tail.cancel()
            self._tail = None
        self.abort()
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        elif self._taker is not None:
            self._tell_taker(self._taker)

    def _tell_taker(self, taker: ReplyTaker) -> None:
        reply = self._reply
        self._taker = None
        if self._streams and self._failure is None and reply.status == _OK:
            self._streams = False
            flow = taker.flows(self.headers)
            if flow is not None:
                self._sink, self._direct = flow.take, flow
                if self._pass_on() and self._failure is None:
                    self._taker, self._pours = taker, True
                else:
                    self._stop_pouring()
                    taker.stopped()
                return
        elif self._pours:
            self._pours = False
            taker.stopped()
            return
        elif self._failure is None:
            if reply.ended and reply.status == _OK:
                if taker.answered(b"".join(reply.body)):
                    reply.body.clear()
                    reply.buffered = 0
                    self.close()
                    return
            elif not reply.status or (reply.status == _OK and not self._holding):
                self._taker = taker
                return
        taker.unusual()

    def _end_tail(self) -> None:
        """Throw away what nobody reads of a reply; give the connection back when that is all."""
        self._reply.body.clear()
        self._reply.buffered = 0
        if self._tail is not None and (self._reply.ended or self._failure is not None):
            self._tail.cancel()
            self._tail = None
            self.close()
