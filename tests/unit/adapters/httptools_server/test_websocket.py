"""The socket alone: a client of wsproto, a transport in memory, and a gateway of a few lines."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from shipway.adapters.httptools_server.websocket import WebSocketSession
from shipway.gateway.exchange import Exchange, Headers, RequestHead

EVENTS = (("content-type", "text/event-stream; charset=utf-8"),)
JSON = (("content-type", "application/json"),)
HEAD = RequestHead(
    "GET",
    b"/v1/chat/completions/ws?x=1",
    Headers(
        [
            (b"host", b"gateway"),
            (b"authorization", b"Bearer swk_1"),
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-key", b"x"),
            (b"x-shipway-conversation", b"c1"),
        ]
    ),
    "127.0.0.1",
)


class Pipe(asyncio.Transport):
    """What the session writes, read by a client."""

    def __init__(self) -> None:
        super().__init__()
        self.client = Connection(ConnectionType.CLIENT)
        self.heard: list[Event] = []
        self.reading = True
        self.aborted = False
        self.ended = False

    def write(self, data: Any) -> None:
        self.client.receive_data(data)
        self.heard += list(self.client.events())

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def said(self) -> list[Any]:
        return [json.loads(event.data) for event in self.heard if isinstance(event, TextMessage)]

    def closed(self) -> int | None:
        return next((int(event.code) for event in self.heard if isinstance(event, CloseConnection)), None)


class Desk:
    """Serves every exchange with one function."""

    max_message_bytes = 1000

    def __init__(self, work: Callable[[Exchange], Awaitable[None]]) -> None:
        self._work = work
        self.stopping = False
        self.exchanges: list[Exchange] = []
        self.bodies: list[bytes] = []

    async def serve(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.stamp += [("x-request-id", "req_1"), ("x-shipway-release", "rel_a")]
        self.bodies.append(await exchange.read_body(10_000))
        await self._work(exchange)


class Table:
    """A session with its client and desk."""

    def __init__(self, work: Callable[[Exchange], Awaitable[None]]) -> None:
        self.pipe, self.desk = Pipe(), Desk(work)
        self.session = WebSocketSession(self.pipe, self.desk, HEAD)

    def send(self, event: Event) -> None:
        self.session.received(self.pipe.client.send(event))

    async def ask(self, value: Any) -> None:
        self.send(TextMessage(data=value if isinstance(value, str) else json.dumps(value)))
        await self.settled()

    @staticmethod
    async def settled() -> None:
        for _ in range(10):
            await asyncio.sleep(0)


async def streamed(exchange: Exchange) -> None:
    exchange.start(200, EVENTS)
    await exchange.write(b'data: {"n":1}\n\ndata: {"n"')
    await exchange.write(b":2}\n\n: quiet\n\n")
    exchange.finish(b"data: [DONE]\n\n")


async def endless(exchange: Exchange) -> None:
    exchange.start(200, EVENTS)
    await exchange.write(b'data: {"n":1}\n\n')
    await asyncio.Event().wait()


async def test_a_request_goes_the_way_of_http_and_its_events_come_as_messages() -> None:
    table = Table(streamed)
    await table.ask({"model": "chat"})

    assert table.pipe.said() == [{"n": 1}, {"n": 2}, {"type": "done", "request_id": "req_1", "release": "rel_a"}]
    exchange = table.desk.exchanges[0]
    assert (exchange.method, exchange.path, exchange.query) == ("POST", "/v1/chat/completions", b"x=1")
    assert exchange.headers.get("authorization") == "Bearer swk_1"
    assert exchange.headers.get("x-shipway-conversation") == "c1"
    assert exchange.headers.get("upgrade") is None
    assert exchange.headers.get("content-type") == "application/json"


async def test_a_request_streams_unless_it_says_otherwise() -> None:
    table = Table(streamed)
    await table.ask(' {"model":"chat","model":"x"}')
    await table.ask('{"stream":false}')
    await table.ask("{}")
    await table.ask("no json")

    # A key that stands twice still does: it is the gateway that refuses it.
    assert table.desk.bodies[0] == b'{"stream":true,"model":"chat","model":"x"}'
    assert table.desk.bodies[1:] == [b'{"stream":false}', b"{}", b"no json"]


async def test_a_whole_reply_is_one_message() -> None:
    async def whole(exchange: Exchange) -> None:
        exchange.reply(200, JSON, b'{"id":"chatcmpl-1"}')

    table = Table(whole)
    await table.ask({"stream": False})

    assert table.pipe.said()[0] == {"id": "chatcmpl-1"}
    assert table.pipe.said()[1]["type"] == "done"


async def test_a_refusal_is_one_message_with_its_status_and_the_socket_stays_open() -> None:
    async def refused(exchange: Exchange) -> None:
        exchange.reply(429, (*JSON, ("retry-after", "7")), b'{"error":{"code":"rate_limited"},"request_id":"req_1"}')

    table = Table(refused)
    await table.ask({})
    await table.ask({})

    told = {"error": {"code": "rate_limited"}, "request_id": "req_1", "status": 429, "retry_after": 7}
    assert table.pipe.said() == [told, told]
    assert table.pipe.closed() is None


@pytest.mark.parametrize("last", [{"error": {"code": "upstream_cut"}}, {"type": "error", "code": "upstream_cut"}])
async def test_a_stream_that_ends_badly_ends_with_its_error_and_without_done(last: dict[str, Any]) -> None:
    async def cut(exchange: Exchange) -> None:
        exchange.start(200, EVENTS)
        exchange.finish(b"data: " + json.dumps(last, separators=(",", ":")).encode() + b"\n\n")

    table = Table(cut)
    await table.ask({})

    assert table.pipe.said() == [last]


async def test_a_cancelled_request_stops_its_work_and_another_may_follow() -> None:
    table = Table(endless)
    await table.ask({"model": "chat"})
    await table.ask({"type": "cancel"})

    assert table.desk.exchanges[0].gone
    assert table.pipe.said() == [{"n": 1}, {"type": "cancelled", "request_id": "req_1", "release": "rel_a"}]
    await table.ask({"model": "chat"})
    assert len(table.desk.exchanges) == 2


async def test_cancelling_nothing_does_nothing() -> None:
    table = Table(streamed)
    await table.ask({"type": "cancel"})

    assert table.pipe.heard == []


async def test_a_second_request_is_refused_while_the_first_runs() -> None:
    table = Table(endless)
    await table.ask({"model": "chat"})
    await table.ask({"model": "chat"})

    assert table.pipe.said()[-1]["error"]["code"] == "request_running"
    assert len(table.desk.exchanges) == 1


async def test_a_client_that_leaves_stops_its_work() -> None:
    table = Table(endless)
    await table.ask({"model": "chat"})
    table.session.lost()
    await table.settled()

    assert table.desk.exchanges[0].gone
    assert table.session.idle


async def test_a_clients_goodbye_is_answered_and_stops_its_work() -> None:
    table = Table(endless)
    await table.ask({"model": "chat"})
    table.send(CloseConnection(code=1000))
    await table.settled()

    assert table.desk.exchanges[0].gone
    assert table.pipe.closed() == 1000
    assert table.pipe.ended


async def test_a_message_that_is_too_long_closes_the_socket_before_it_is_whole() -> None:
    table = Table(streamed)
    table.send(TextMessage(data="x" * 600, message_finished=False))
    table.send(TextMessage(data="x" * 600, message_finished=False))

    assert table.pipe.closed() == 1009
    assert table.desk.exchanges == []


async def test_bytes_are_not_taken() -> None:
    table = Table(streamed)
    table.send(BytesMessage(data=b"\x00"))

    assert table.pipe.closed() == 1003


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01x", 1002),  # not masked
        (b"\xf1\x80\x00\x00\x00\x00", 1002),  # reserved bits
        (b"\x81\x81\x00\x00\x00\x00\xff", 1007),  # no UTF-8
    ],
)
async def test_frames_against_the_protocol_close_the_socket(frame: bytes, code: int) -> None:
    table = Table(streamed)
    table.session.received(frame)

    assert table.pipe.closed() == code


async def test_a_ping_is_answered() -> None:
    table = Table(streamed)
    table.send(Ping(payload=b"hi"))

    assert table.pipe.heard == [Pong(payload=b"hi")]


async def test_a_silent_client_is_asked_once_and_then_given_up() -> None:
    table = Table(endless)
    await table.ask({})
    now_s = asyncio.get_running_loop().time()
    table.session.mind_time(now_s + 21)
    table.session.mind_time(now_s + 22)

    assert [event for event in table.pipe.heard if isinstance(event, Ping)] == [Ping()]
    table.session.mind_time(now_s + 41)
    assert table.pipe.aborted


async def test_a_client_that_does_not_read_makes_the_reply_wait_and_is_not_listened_to() -> None:
    table = Table(streamed)
    table.session.pause_writing()
    table.session.received(table.pipe.client.send(TextMessage(data="{}")))
    await table.settled()

    assert not table.pipe.reading
    assert table.pipe.said() == [{"n": 1}]
    table.session.resume_writing()
    await table.settled()
    assert table.pipe.reading
    assert table.pipe.said()[-1]["type"] == "done"


async def test_a_server_that_stops_says_goodbye_after_the_present_request() -> None:
    release = asyncio.Event()

    async def waiting(exchange: Exchange) -> None:
        exchange.start(200, EVENTS)
        await release.wait()
        exchange.finish(b"data: [DONE]\n\n")

    table = Table(waiting)
    await table.ask({})
    table.desk.stopping = True
    release.set()
    await table.settled()

    assert table.pipe.said()[-1]["type"] == "done"
    assert table.pipe.closed() == 1001


async def test_a_reply_that_breaks_off_closes_the_socket() -> None:
    async def broken(exchange: Exchange) -> None:
        exchange.start(200, JSON)
        await exchange.write(b'{"id":')

    table = Table(broken)
    await table.ask({})

    assert table.pipe.closed() == 1011


@given(st.lists(st.binary(max_size=40), max_size=6))
@example([b"\x81\xfe"])
@example([b"\x88\x80\x00\x00\x00\x00"])
@example([b"\x88\x81\x00\x00\x00\x00\x00"])
@example([b"\x80\x80\x00\x00\x00\x00", b"\x01\x80\x00\x00\x00\x00"])
@example([b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"])
def test_no_bytes_of_a_client_raise(pieces: list[bytes]) -> None:
    async def feed() -> None:
        table = Table(streamed)
        for piece in pieces:
            table.session.received(piece)
        await table.settled()
        table.session.lost()
        await table.settled()

    asyncio.run(feed())
