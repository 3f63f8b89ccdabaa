"""The memo of reply heads, and the connection that asks it: no reply is cut where the parser would not cut it."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.adapters.httptools_client import known_replies
from shipway.adapters.httptools_client.connection import EngineConnection
from shipway.adapters.httptools_client.known_replies import KnownReplies
from shipway.gateway.outbox import Outbox

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nserver: x\r\n\r\n"
PLAIN = HEAD + b"{}"


class Line:
    """A transport that notes whether it is read from."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self.reads = True

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    close = abort

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Taker:
    """Whoever asked; `takes` False is one that wants the reply read the long way."""

    def __init__(self, *, takes: bool = True) -> None:
        self.takes = takes
        self.got: list[bytes] = []
        self.odd = 0

    def answered(self, raw: bytes) -> bool:
        if self.takes:
            self.got.append(raw)
        return self.takes

    def unusual(self) -> None:
        self.odd += 1


class Bench:
    """A connection without a socket."""

    def __init__(self) -> None:
        self.known = KnownReplies()
        self.given_back: list[EngineConnection] = []
        self.line = Line()
        self.connection = self.made()

    def made(self) -> EngineConnection:
        connection = EngineConnection(self.given_back.append, self.known, Outbox())
        connection.connection_made(self.line)  # type: ignore[arg-type]
        return connection

    def ask(self, *pieces: bytes, taker: Taker | None = None) -> Taker:
        taker = taker or Taker()
        self.connection.post(b"POST", taker, False)  # noqa: FBT003 - by place, as the lane
        for piece in pieces:
            if not self.line.closed:
                self.connection.data_received(piece)
        return taker


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_head_that_was_read_once_is_known_whatever_its_length(bench):
    assert bench.known.body_of(PLAIN) is None
    assert bench.ask(PLAIN).got == [b"{}"]
    assert bench.known.body_of(PLAIN) == b"{}"
    longer = PLAIN.replace(b"h: 2", b"h: 8").replace(b"{}", b'{"a": 1}')
    assert bench.known.body_of(longer) == b'{"a": 1}'
    assert bench.ask(longer).got == [b'{"a": 1}']
    assert bench.given_back == [bench.connection] * 2


NOT_LEARNED = {
    "error": PLAIN.replace(b"200 OK", b"500 No"),
    "accepted": PLAIN.replace(b"200 OK", b"202 OK"),
    "old": PLAIN.replace(b"1.1", b"1.0", 1),
    "close": PLAIN.replace(b"server: x", b"connection: close"),
    "hint-first": b"HTTP/1.1 103 Hints\r\n\r\n" + PLAIN,
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two-replies": PLAIN + PLAIN,
    "garbage-behind": PLAIN + b"garbage",
    "two-lengths": PLAIN.replace(b"server: x", b"content-length: 2"),
    "length-and-chunks": PLAIN.replace(b"server: x", b"transfer-encoding: chunked"),
    "length-in-a-value": PLAIN.replace(b"server: x", b"x: content-length: 9"),
    "length-of-another-name": PLAIN.replace(b"server: x", b"x-length: 9"),
    "no-blank": PLAIN.replace(b"length: 2", b"length:2"),
    "long": PLAIN.replace(b"server: x", b"server: " + b"x" * 3000),
    "too-short": PLAIN[:-1],
}


@pytest.mark.parametrize("raw", NOT_LEARNED.values(), ids=NOT_LEARNED)
async def test_what_is_not_a_whole_plain_reply_teaches_nothing(bench, raw):
    bench.ask(raw)
    assert bench.known._heads == set()


UNLIKE = {
    "body-too-short": PLAIN[:-1],
    "body-too-long": PLAIN + b"x",
    "two-replies": PLAIN + PLAIN,
    "line-break-behind": PLAIN + b"\r\n",
    "blank-before-the-digits": PLAIN.replace(b"h: 2", b"h:  2"),
    "blank-behind-the-digits": PLAIN.replace(b"h: 2", b"h: 2 "),
    "plus": PLAIN.replace(b"h: 2", b"h: +2"),
    "no-digits": PLAIN.replace(b"h: 2", b"h: "),
    "letters": PLAIN.replace(b"h: 2", b"h: two"),
    "digits-of-another-script": PLAIN.replace(b"h: 2", "h: \u0662".encode()),
    "too-many-digits": PLAIN.replace(b"h: 2", b"h: 0000000002"),
    "folded": PLAIN.replace(b"h: 2", b"h: 2\r\n 0"),
    "another-status": PLAIN.replace(b"200 OK", b"201 OK"),
    "another-header": PLAIN.replace(b"server: x", b"server: y"),
    "one-more-header": PLAIN.replace(b"server: x", b"server: x\r\nconnection: close"),
    "other-letters": PLAIN.replace(b"server", b"Server"),
    "half-a-head": PLAIN[:30],
    "nothing": b"",
    "an-end-alone": b"\r\n\r\n",
}


@pytest.mark.parametrize("raw", UNLIKE.values(), ids=UNLIKE)
async def test_what_is_unlike_a_known_reply_is_not_cut_by_the_memo(bench, raw):
    bench.ask(PLAIN)
    assert bench.known.body_of(raw) is None


@pytest.mark.parametrize("raw", [PLAIN + PLAIN, PLAIN + b"x", PLAIN + b"HTTP/1.1 "])
async def test_more_than_was_asked_for_breaks_a_connection_that_knows_its_head(bench, raw):
    bench.ask(PLAIN)
    taker = bench.ask(raw)
    assert (taker.got, taker.odd, bench.connection.usable) == ([], 1, False)


async def test_bytes_on_an_idle_connection_break_it(bench):
    bench.ask(PLAIN)
    bench.ask(PLAIN)
    bench.connection.data_received(PLAIN)
    assert not bench.connection.usable


@given(st.lists(st.integers(1, len(PLAIN) - 1), max_size=4), st.booleans())
@settings(max_examples=60)
def test_a_reply_is_the_same_wherever_it_is_cut(cuts, known):
    async def asked() -> None:
        bench = Bench()
        if known:
            bench.ask(PLAIN)
        places = sorted(set(cuts))
        pieces = [PLAIN[start:end] for start, end in zip([0, *places], [*places, len(PLAIN)], strict=True)]
        for _ in range(2):
            assert bench.ask(*pieces).got == [b"{}"]
        assert bench.connection.usable

    asyncio.run(asked())


async def test_a_taker_that_declines_a_known_reply_gets_it_the_long_way_whole(bench):
    bench.ask(PLAIN)
    taker = bench.ask(PLAIN, taker=Taker(takes=False))
    assert (taker.odd, bench.connection.status) == (1, 200)
    assert await bench.connection.whole(100) == b"{}"
    bench.connection.close()
    assert bench.ask(PLAIN).got == [b"{}"]


@pytest.mark.parametrize("known", [True, False])
async def test_a_taker_that_fails_is_not_told_of_the_connections_end_too(bench, known):
    class Failing(Taker):
        def answered(self, raw: bytes) -> bool:
            raise RuntimeError(raw)

    if known:
        bench.ask(PLAIN)
    taker = Failing()
    with pytest.raises(RuntimeError):
        bench.ask(PLAIN, taker=taker)
    bench.connection.connection_lost(None)
    assert taker.odd == 0


@pytest.mark.parametrize("way", ["taken", "read"])
async def test_a_connection_that_was_held_back_is_read_from_again_when_it_is_idle(bench, way):
    body = b"[" + b"1," * 100_000 + b"1]"
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    taker = bench.ask(raw, taker=Taker(takes=way == "taken"))
    if way == "read":
        assert await bench.connection.whole(10**6) == body
        bench.connection.close()
    else:
        assert taker.got == [body]
    assert bench.given_back == [bench.connection]
    assert bench.line.reads


async def test_a_large_answer_in_pieces_is_handed_over_before_it_is_whole(bench):
    taker = bench.ask(b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n", b"x" * 200_000)
    assert (taker.got, taker.odd, bench.line.reads) == ([], 1, False)
    reading = asyncio.ensure_future(bench.connection.whole(10**6))
    await asyncio.sleep(0)
    assert bench.line.reads
    bench.connection.data_received(b"x" * 100_000)
    assert len(await reading) == 300_000


async def test_an_end_of_the_connection_is_told_once(bench):
    taker = bench.ask(PLAIN[:40])
    bench.connection.connection_lost(None)
    bench.connection.connection_lost(ConnectionResetError())
    assert (taker.got, taker.odd) == ([], 1)


async def test_ten_thousand_heads_do_not_pile_up(bench):
    for number in range(10_000):
        bench.known.learn(PLAIN.replace(b"server: x", b"x-request-id: %d" % number))
    assert len(bench.known._heads) <= known_replies._MOST
    found: Any = bench.known.body_of(PLAIN.replace(b"server: x", b"x-request-id: 9999"))
    assert found == b"{}"
