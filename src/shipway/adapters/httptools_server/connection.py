"""One client's HTTP/1.1 connection: requests in, one after the other, replies out; `server` accepts them.

Bytes are parsed by llhttp (httptools) in the transport's own callback. Whatever a client can get wrong ends in a 4xx in
the gateway's error shape and a closed connection.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import httptools

from shipway.adapters.httptools_server.declined import without_offer
from shipway.adapters.httptools_server.handshake import UpgradeWire, wants_websocket, with_key
from shipway.adapters.httptools_server.short_way import Lanes, ShortWay
from shipway.adapters.httptools_server.websocket import WebSocketSession
from shipway.adapters.httptools_server.wire import ReplyWire
from shipway.gateway.exchange import Exchange, Headers, RequestHead
from shipway.gateway.flight import Flight
from shipway.gateway.outbox import OutboxTransport
from shipway.gateway.replies import RefusedError, Reply

_HEAD_BYTES = 64 * 1024
_TARGET_BYTES = 8 * 1024
_PIPELINED = 8
"""Requests that may wait on one connection; then it is not read from any more."""
_READ_AHEAD_BYTES = 256 * 1024
_LINGER_S = 2.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for: for a whole head, between requests, and when it does not read."""

    head_s: float = 10.0
    keep_alive_s: float = 75.0
    reading_s: float = 60.0


class Owner(Lanes, Protocol):
    """What a connection needs from its server."""

    @property
    def max_message_bytes(self) -> int:
        """Return the largest message of a WebSocket."""
        ...

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Return the work of one request."""
        ...

    def resume(self, exchange: Exchange, flight: Flight) -> Coroutine[Any, Any, None]:
        """Return the work of a request that a flight has begun."""
        ...

    def refused(self, refusal: RefusedError) -> Reply:
        """Note what is no request and return the reply to it."""
        ...

    def opened(self, connection: "ClientConnection") -> bool:
        """Note a connection; False when there are too many."""
        ...

    def closed(self, connection: "ClientConnection") -> None:
        """Forget a connection."""
        ...


class ClientConnection(asyncio.Protocol):
    """A connection of a client.

    `since_s` is when the present wait began: for a request's head, or between requests.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport = cast("OutboxTransport", None)
        self._client = ""
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._reading: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._held = False
        self._deaf = False
        self._refusal: RefusedError | None = None
        self._surplus = False
        self._stuck_since_s: float | None = None
        self._socket: WebSocketSession | None = None
        self._declined: bytes | None = None
        self._short = cast("ShortWay", None)
        self._flight: Flight | None = None
        self.in_head = False
        self.since_s = self._loop.time()

    @property
    def idle(self) -> bool:
        """Return whether no request is at work or on its way."""
        if self._socket is not None:
            return self._socket.idle
        return self._current is None and not self.in_head and not self._short.is_busy

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Return the work of the present request."""
        return self._socket.task if self._socket is not None else self._task

    def mind_time(self, now_s: float, patience: Patience) -> None:
        """End a wait that is too long."""
        if self._stuck_since_s is not None and now_s - self._stuck_since_s > patience.reading_s:
            self.abort()
        elif self._socket is not None:
            self._socket.mind_time(now_s)
        elif self.in_head:
            if now_s - self.since_s > patience.head_s:
                self.refuse(RefusedError(408, "the request's head did not arrive in time", code="head_timeout"))
        elif self._short.is_busy:
            self._short.mind_time(now_s)
        elif self._current is None and not self._deaf and now_s - self.since_s > patience.keep_alive_s:
            self.close()

    def abort(self) -> None:
        """Cut the connection."""
        self._deaf = True
        self._transport.abort()

    def close(self) -> None:
        """Close after what was written has left."""
        if self._socket is not None:
            self._socket.close()
            return
        self._deaf = True
        if self._short.flight is not None:
            self._short.end(gone=False)
            self._transport.abort()
        else:
            self._transport.close()

    def refuse(self, refusal: RefusedError) -> None:
        """Answer what is no request once those before it are answered; nothing is read any more."""
        if self._deaf:
            return
        self._deaf = True
        if self._reading is not None:
            # Its work waits for the rest of the body, and answers in its own way.
            cast("ReplyWire", self._reading.wire).keeps = False
            self._reading.fail(refusal)
        elif self._current is not None:
            self._refusal = refusal
        else:
            _say(self._owner, self._transport, refusal)
            self._hang_up()

    def _hang_up(self) -> None:
        """Close when the client has heard the reply: closing while it still sends would destroy it on its way."""
        self._deaf = True
        self.hold(on=False)
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(_LINGER_S, self._transport.abort)
        else:
            self._transport.close()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = OutboxTransport(cast("asyncio.Transport", transport), self._owner.outbox)
        self._client = (transport.get_extra_info("peername") or ("",))[0]
        self._short = ShortWay(self._owner, self, self._transport)
        self._surplus = not self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        between = self._current is None and not self.in_head and not self._deaf and not self._surplus
        between = between and self._stuck_since_s is None
        if not between or self._socket is not None or not self._short.received(data):
            self.feed(data)

    def feed(self, data: bytes, flight: Flight | None = None) -> None:
        """Parse what came; a request that a flight has begun goes on from there."""
        self._flight = flight
        if self._socket is not None:
            self._socket.received(data)
            return
        if self._deaf:
            if self._current is not None and isinstance(self._current.wire, UpgradeWire):
                self._current.wire.early += data
            return
        rest: bytes | memoryview = data
        try:
            while rest:
                rest = self._parsed(rest)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, RefusedError):
                raise
            self.refuse(error.__context__)
        except httptools.HttpParserError as error:
            self.refuse(RefusedError(400, f"this is not an HTTP request: {error}", code="bad_request"))

    def _parsed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse what came; returns what a new parser has to read, because an offer of another protocol is declined."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = memoryview(data)[upgrade.args[0] :]
            head, self._declined = self._declined, None
            if head is not None:
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(head)
                return rest
            # A WebSocket begins, or the request is refused: nothing more is read as HTTP.
            self._deaf = True
            if self._current is not None and isinstance(self._current.wire, UpgradeWire):
                self._current.wire.early += rest
        return b""

    def connection_lost(self, _error: Exception | None) -> None:
        """Stop the work that nobody waits for any more."""
        self._deaf = True
        self._owner.closed(self)
        self.resume_writing()
        if self._socket is not None:
            self._socket.lost()
        self._short.end(gone=True)
        if self._current is not None and not self._current.complete:
            self._current.lost(self._task)

    def pause_writing(self) -> None:
        """Make the reply wait for its reader."""
        self._stuck_since_s = self._loop.time()
        if self._socket is not None:
            self._socket.pause_writing()
        elif self._current is not None:
            wire = cast("ReplyWire", self._current.wire)
            wire.room = wire.room or self._loop.create_future()
        else:
            self._short.slow()

    def resume_writing(self) -> None:
        """Let the reply go on."""
        self._stuck_since_s = None
        if self._socket is not None:
            self._socket.resume_writing()
        elif self._current is not None:
            wire = cast("ReplyWire", self._current.wire)
            if wire.room is not None and not wire.room.done():
                wire.room.set_result(None)
            wire.room = None

    # What the parser calls; the names are httptools'.

    def on_message_begin(self) -> None:
        """Start a head."""
        self._target = b""
        self._fields = []
        self._head_bytes = 0
        self.in_head = True
        if self._current is None:
            self.since_s = self._loop.time()

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the target."""
        self._target += url
        if len(self._target) > _TARGET_BYTES:
            raise RefusedError(414, f"the address is longer than {_TARGET_BYTES} bytes", code="uri_too_long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, within bounds."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _HEAD_BYTES:
            raise RefusedError(431, f"the headers are larger than {_HEAD_BYTES} bytes", code="headers_too_large")
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start the request's work, or put it behind those before it."""
        self.in_head = False
        parser = self._parser
        method = parser.get_method().decode("ascii")
        old = parser.get_http_version() == "1.0"
        if self._surplus:
            raise RefusedError(503, "too many connections; try again", code="overloaded", retry_after="1")
        if method == "CONNECT":
            raise RefusedError(400, "this is no proxy", code="bad_request")
        headers = Headers(self._fields)
        if headers.get("host") is None and not old:
            raise RefusedError(400, "the header host is missing", param="host")
        upgrades = parser.should_upgrade()
        if upgrades and not wants_websocket(method, headers):
            version = parser.get_http_version()
            self._declined = without_offer(parser.get_method(), self._target, version, self._fields)
            return
        keeps = parser.should_keep_alive() and not upgrades and not self._owner.stopping
        head = RequestHead(method, _origin_form(self._target), headers, self._client)
        if upgrades:
            head.headers = Headers(with_key(self._fields))
            wire: ReplyWire = UpgradeWire(self._transport, self._loop, head)
        else:
            wire = ReplyWire(self._transport, self._loop, method=method, old=old, keeps=keeps)
        exchange = Exchange(head, wire)
        exchange.on_room = partial(self.hold, on=False)
        self._reading = exchange
        if (headers.get("expect") or "").lower() == "100-continue" and self._current is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._current is None:
            self._begin(exchange)
            return
        self._waiting.append(exchange)
        if len(self._waiting) > _PIPELINED:
            self.hold(on=True)

    def on_body(self, data: bytes) -> None:
        """Hand a piece of the body over."""
        if self._reading is not None and self._reading.arrived(data) > _READ_AHEAD_BYTES:
            self.hold(on=True)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        if self._reading is not None:
            self._reading.end_of_body()
            self._reading = None

    # The requests of this connection, one after the other.

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        flight, self._flight = self._flight, None
        if flight is not None and flight.wire is not None and flight.wire.has_begun:
            exchange.go_on(flight.wire)
            if self._stuck_since_s is not None:
                cast("ReplyWire", flight.wire).room = self._loop.create_future()
        work = self._owner.serve(exchange) if flight is None else self._owner.resume(exchange, flight)
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._ended)
        if flight is not None:
            self._task.add_done_callback(partial(_end_unread, exchange, flight))

    def _ended(self, _task: asyncio.Task[None]) -> None:
        exchange, self._current, self._task = self._current, None, None
        if exchange is None or self._transport.is_closing():
            return
        if exchange.complete and isinstance(exchange.wire, UpgradeWire) and exchange.wire.accepted:
            self._socket = WebSocketSession(self._transport, self._owner, exchange.wire.head)
            self.hold(on=False)
            self._socket.received(exchange.wire.early)
        elif not exchange.complete:
            # A reply that is not whole must not look whole: nothing tells it apart but the connection's end.
            self.abort()
        elif not cast("ReplyWire", exchange.wire).keeps or not exchange.whole:
            self._hang_up()
        elif self._waiting:
            self._begin(self._waiting.popleft())
            self.hold(on=False)
        elif self._refusal is not None:
            _say(self._owner, self._transport, self._refusal)
            self._hang_up()
        elif self._deaf:
            self.close()
        else:
            self.since_s = self._loop.time()
            self.hold(on=False)

    def landed(self, *, keeps: bool) -> bool:
        """Take note that a reply was written, which said whether it `keeps` the connection; returns whether it does."""
        self.since_s = self._loop.time()
        if keeps:
            self.hold(on=False)
        else:
            self._hang_up()
        return not self._deaf

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading; while many requests wait, nothing more is read."""
        if on == self._held or self._transport.is_closing() or (not on and len(self._waiting) > _PIPELINED):
            return
        self._held = on
        if on:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()


def only_waits(connection: ClientConnection) -> bool:
    """Return whether another process could go on with a connection: it has nothing but a request to come."""
    return connection.idle and connection._socket is None and not connection._deaf  # noqa: SLF001 - their own module


def _say(owner: Owner, transport: OutboxTransport, refusal: RefusedError) -> None:
    """Write the reply to what is no request."""
    reply = owner.refused(refusal)
    wire = ReplyWire(transport, asyncio.get_running_loop(), method="GET", old=False, keeps=False)
    wire.start(reply.status, (*reply.headers, ("content-length", str(len(reply.body)))))
    wire.finish(reply.body)


def _end_unread(exchange: Exchange, flight: Flight, _task: "asyncio.Task[None]") -> None:
    """End a flight whose request's work was cancelled before its first step: nobody else gives back what it holds."""
    if not flight.is_handed_over:
        flight.end(gone=exchange.gone)


def _origin_form(target: bytes) -> bytes:
    """Return path and query of a target that may name the server too (RFC 9112, 3.2.2)."""
    for scheme in (b"http://", b"https://"):
        if target[: len(scheme)].lower() == scheme:
            _, slash, path = target[len(scheme) :].partition(b"/")
            return slash + path or b"/"
    return target
