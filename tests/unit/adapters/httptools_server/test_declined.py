"""Offers of another protocol: with a body or without, cut anywhere, the request is served as if there were none."""

import asyncio
from typing import Any

import pytest

from shipway.adapters.httptools_server.connection import ClientConnection
from shipway.adapters.httptools_server.declined import without_offer
from shipway.adapters.httptools_server.known_heads import KnownHeads
from shipway.gateway.exchange import Exchange
from shipway.gateway.outbox import Outbox
from shipway.gateway.replies import RefusedError, Reply

BODY = b'{"say":"GET /evil HTTP/1.1"}'
OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
START = b"POST /said HTTP/1.1\r\nhost: x\r\n" + OFFER
SIZED = START + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n17\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
BARE = b"GET /bare HTTP/1.1\r\nhost: x\r\n" + OFFER + b"\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

pytestmark = pytest.mark.anyio


class Line(asyncio.Transport):
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    abort = close


class Owner:
    """An application that keeps what it was asked."""

    max_message_bytes = 1024
    lane = None
    stopping = False

    def __init__(self) -> None:
        self.heads = KnownHeads()
        self.outbox = Outbox()
        self.asked: list[tuple[str, bytes]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.refusals: list[int] = []

    async def serve(self, exchange: Exchange) -> None:
        try:
            body = await exchange.read_body(1 << 20)
        except RefusedError as refusal:
            self.refusals.append(refusal.status)
            exchange.reply(refusal.status, [("content-length", "0")], b"")
            return
        self.asked.append((exchange.path, body))
        self.headers.append(dict(exchange.headers.fields))
        exchange.wire.start(200, [("content-length", "2")])
        exchange.wire.finish(b"ok")
        exchange.complete = True

    def refused(self, refusal: RefusedError) -> Reply:
        self.refusals.append(refusal.status)
        return Reply(refusal.status, b"no")

    def opened(self, _connection: ClientConnection) -> bool:
        return True

    def closed(self, _connection: ClientConnection) -> None:
        pass


async def served(*pieces: bytes) -> tuple[Owner, Line]:
    owner, line = Owner(), Line()
    connection = ClientConnection(owner)
    connection.connection_made(line)
    for piece in pieces:
        if not line.closed:
            connection.data_received(piece)
        for _ in range(20):
            await asyncio.sleep(0)
    return owner, line


@pytest.mark.parametrize("raw", [SIZED, CHUNKED], ids=["sized", "chunked"])
async def test_a_body_after_an_offer_arrives_wherever_the_bytes_are_cut(raw):
    whole = raw + NEXT + SIZED + LAST
    expected = [("/said", BODY), ("/next", b""), ("/said", BODY), ("/last", b"")]
    for at in range(1, len(whole)):
        owner, line = await served(whole[:at], whole[at:])
        assert (owner.asked, owner.refusals, line.closed) == (expected, [], True), at
        assert line.written.count(b"HTTP/1.1 200 OK") == 4, at
        assert b"101" not in line.written


async def test_a_request_that_comes_byte_by_byte_is_the_same():
    owner, _ = await served(*(bytes([byte]) for byte in CHUNKED + BARE + LAST))

    assert owner.asked == [("/said", BODY), ("/bare", b""), ("/last", b"")]


async def test_many_offers_in_one_packet_are_all_served():
    owner, _ = await served(SIZED * 2000 + LAST)
    for _ in range(30_000):
        await asyncio.sleep(0)

    assert len(owner.asked) == 2001


async def test_nothing_of_the_offer_is_left_in_the_request():
    raw = START.replace(b"Upgrade, HTTP2", b"close, UPGRADE, x-mine, HTTP2") + b"x-mine: 1\r\ncontent-length: 0\r\n\r\n"
    owner, line = await served(raw)

    (fields,) = owner.headers
    assert fields == {b"host": b"x", b"connection": b"close, x-mine", b"x-mine": b"1", b"content-length": b"0"}
    assert line.closed


async def test_an_offer_that_waits_for_a_go_ahead_gets_it_once():
    owner, line = await served(START + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY), BODY + LAST)

    assert line.written.count(b"100 Continue") == 1
    assert owner.asked == [("/said", BODY), ("/last", b"")]


REFUSED = {
    "two-lengths": START + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
    "length-and-chunks": START + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    "chunks-and-length": START + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
    "chunked-not-last": START + b"transfer-encoding: chunked, identity\r\n\r\n",
    "length-that-is-none": START + b"content-length: +5\r\n\r\n",
    "chunk-that-is-none": START + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    "two-offers": BARE.replace(b"upgrade: h2c", b"upgrade: h2c\r\nupgrade: websocket"),
    "no-host": b"POST /said HTTP/1.1\r\n" + OFFER + b"content-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_two_readers_could_read_differently_is_refused_with_an_offer_too(name):
    owner, line = await served(REFUSED[name] + NEXT)

    assert owner.refusals == [400]
    assert owner.asked == [] or owner.asked[0][0] != "/next"
    assert b"200 OK" not in line.written


async def test_an_option_that_names_the_length_does_not_take_the_body_away():
    raw = SIZED.replace(b"Upgrade, HTTP2-Settings", b"Upgrade, Content-Length, Transfer-Encoding")
    owner, _ = await served(raw + LAST)

    assert owner.asked == [("/said", BODY), ("/last", b"")]


async def test_what_follows_an_offer_is_read_as_http_and_nothing_else():
    owner, _ = await served(BARE + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT)

    assert owner.asked == [("/bare", b"")]
    assert owner.refusals == [400]


def test_a_value_with_a_line_break_is_no_head():
    with pytest.raises(RefusedError):
        without_offer(b"GET", b"/", "1.1", [(b"host", b"x"), (b"x", b"a\r\nupgrade: y")])
