"""A client's WebSocket: one JSON request a message, its reply as messages, one at a time; `connection` feeds it.

Each request is an exchange of its own, so that key, limits, routing, record and errors are those of HTTP.
Source: RFC 6455; the frames are wsproto's.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

import orjson
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from shipway.adapters.httptools_server.socket_wire import SocketWire
from shipway.gateway.exchange import Exchange, Headers, RequestHead
from shipway.gateway.outbox import OutboxTransport

_PING_S = 20.0
"""Silence of a client after which it is asked whether it is still there; as long again, and it is not."""
_IDLE_S = 900.0
_GOODBYE_S = 2.0
_SUFFIX = b"/ws"
_SPEAKING = frozenset({ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING})
_REFERENCE = {"x-request-id": "request_id", "x-shipway-release": "release", "x-shipway-route": "route"}
_HANDSHAKE = frozenset({b"upgrade", b"connection", b"content-length", b"content-type", b"content-encoding"})


class Requests(Protocol):
    """Who serves the requests of a socket."""

    @property
    def stopping(self) -> bool:
        """Return whether sockets end with their present request."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """Return the largest message that is taken."""
        ...

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Return the work of one request."""
        ...


class WebSocketSession:
    """The life of one socket after its opening.

    `head` is the opening's: its path without `/ws` is the endpoint, its headers go with each request.
    """

    def __init__(self, transport: OutboxTransport, owner: Requests, head: RequestHead) -> None:
        self._transport = transport
        self._owner = owner
        self._head = head
        self._fields = tuple(
            (name, value)
            for name, value in head.headers.fields
            if name not in _HANDSHAKE and not name.startswith(b"sec-websocket-")
        )
        self._loop = asyncio.get_running_loop()
        self._frames = Connection(ConnectionType.SERVER)
        self._message: list[str] = []
        self._message_chars = 0
        self._exchange: Exchange | None = None
        self._wire: SocketWire | None = None
        self._room: asyncio.Future[None] | None = None
        self._closing = False
        self._cancelled = False
        self._pinged = False
        self._heard_s = self._used_s = self._loop.time()
        self.task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Return whether no request is at work."""
        return self.task is None

    def mind_time(self, now_s: float) -> None:
        """Ask a silent client for a sign of life, and leave one that gives none or wants nothing."""
        silent_s = now_s - self._heard_s
        if silent_s > 2 * _PING_S:
            self._transport.abort()
        elif silent_s > _PING_S and not self._pinged:
            self._pinged = True
            self._put(Ping())
        elif self.idle and now_s - self._used_s > _IDLE_S:
            self.close(CloseReason.NORMAL_CLOSURE, "idle")

    def received(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._heard_s = self._loop.time()
        self._pinged = False
        if self._frames.state not in {ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING}:
            return
        self._frames.receive_data(data)
        for event in self._frames.events():
            self._heard(event)

    def lost(self) -> None:
        """Stop the work that nobody waits for any more."""
        self._closing = True
        self.resume_writing()
        if self._exchange is not None and not self._exchange.complete:
            self._exchange.lost(self.task)

    def pause_writing(self) -> None:
        """Make the reply wait for its reader; who does not read is not listened to either."""
        self._room = self._room or self._loop.create_future()
        if self._wire is not None:
            self._wire.room = self._room
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the reply go on."""
        room, self._room = self._room, None
        if self._wire is not None:
            self._wire.room = None
        if room is not None and not room.done():
            room.set_result(None)
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, code: int = CloseReason.GOING_AWAY, reason: str = "the server stops") -> None:
        """Say goodbye and wait a moment for the client's."""
        if self._closing:
            return
        self._closing = True
        self._put(CloseConnection(code=code, reason=reason))
        self._loop.call_later(_GOODBYE_S, self._transport.abort)

    def _heard(self, event: Event) -> None:
        match event:
            case TextMessage():
                self._text(event)
            case BytesMessage():
                self._fail(CloseReason.UNSUPPORTED_DATA, "send text messages")
            case Ping():
                self._put(event.response())
            case CloseConnection():
                self._told_goodbye(event)
            case _:
                pass

    def _text(self, event: TextMessage) -> None:
        if self._closing:
            return
        self._message.append(event.data)
        self._message_chars += len(event.data)
        if self._message_chars > self._owner.max_message_bytes:
            self._fail(CloseReason.MESSAGE_TOO_BIG, f"more than {self._owner.max_message_bytes} bytes")
        elif event.message_finished:
            text = "".join(self._message)
            self._message, self._message_chars = [], 0
            self._asked(text.encode())

    def _asked(self, raw: bytes) -> None:
        asked = _object(raw)
        if asked.get("type") == "cancel":
            self._cancel()
        elif self.task is not None:
            message = 'a request is running on this socket; wait for its end, or send {"type":"cancel"}'
            error = {"message": message, "type": "invalid_request_error", "code": "request_running", "param": None}
            self._say({"error": error, "status": 409})
        else:
            self._serve(_streamed(raw) if asked and "stream" not in asked else raw)

    def _serve(self, raw: bytes) -> None:
        fields = (*self._fields, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(raw)))
        path, mark, query = self._head.target.partition(b"?")
        target = path.removesuffix(_SUFFIX) + mark + query
        self._wire = SocketWire(self._send)
        self._wire.room = self._room
        self._exchange = Exchange(RequestHead("POST", target, Headers(fields), self._head.client), self._wire)
        self._exchange.arrived(raw)
        self._exchange.end_of_body()
        self._cancelled = False
        self._used_s = self._loop.time()
        self.task = self._loop.create_task(self._owner.serve(self._exchange))
        self.task.add_done_callback(self._ended)

    def _cancel(self) -> None:
        if self._exchange is not None and not self._exchange.complete and not self._cancelled:
            self._cancelled = True
            self._exchange.lost(self.task)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        exchange, wire = self._exchange, self._wire
        self._exchange = self._wire = self.task = None
        self._used_s = self._loop.time()
        if exchange is None or wire is None or self._transport.is_closing():
            return
        known = {_REFERENCE[name]: value for name, value in exchange.stamp if name in _REFERENCE}
        if exchange.complete and not wire.spoke_last:
            self._say({"type": "done", **known})
        elif self._cancelled and not exchange.complete:
            self._say({"type": "cancelled", **known})
        elif not exchange.complete:
            self._fail(CloseReason.INTERNAL_ERROR, "the reply broke off")
        if self._owner.stopping:
            self.close()

    def _told_goodbye(self, event: CloseConnection) -> None:
        self.lost()
        if self._frames.state in {ConnectionState.REMOTE_CLOSING, ConnectionState.OPEN}:
            self._put(event.response() if event.code != CloseReason.NO_STATUS_RCVD else CloseConnection(code=1000))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._loop.call_later(_GOODBYE_S, self._transport.abort)

    def _fail(self, code: int, reason: str) -> None:
        self.close(code, reason)
        if self._exchange is not None and not self._exchange.complete:
            self._exchange.lost(self.task)

    def _say(self, value: dict[str, Any]) -> None:
        self._send(orjson.dumps(value).decode())

    def _send(self, text: str) -> None:
        self._put(TextMessage(data=text))

    def _put(self, event: Event) -> None:
        if not self._transport.is_closing() and self._frames.state in _SPEAKING:
            self._transport.write(self._frames.send(event))


def _object(raw: bytes) -> dict[str, Any]:
    """Return the message's object, an empty one when it is none: the gateway says what is wrong with it."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _streamed(raw: bytes) -> bytes:
    """Return a request that streams, with all else as it was written."""
    return b'{"stream":true,' + raw.lstrip()[1:]
