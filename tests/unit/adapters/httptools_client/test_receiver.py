"""Pouring a reply: chunks that are known go on as they came, together where they came together; the rest is read."""

import asyncio
import itertools
from typing import Any

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.httptools_client.connection import EngineConnection
from shipway.adapters.httptools_client.known_replies import KnownReplies
from shipway.gateway.outbox import Outbox
from shipway.gateway.stream import ChatStream

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def event(text: str) -> bytes:
    return b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Socket:
    """The engine's side: notes what is asked, and whether it is read."""

    def __init__(self) -> None:
        self.gone = False

    def write(self, _data: bytes) -> None: ...

    def abort(self) -> None:
        self.gone = True

    def is_closing(self) -> bool:
        return self.gone

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Client:
    """Takes a stream as the gateway's relay does, and notes each write; `writes_left` of them fit its socket."""

    def __init__(self, *, writes_left: int = 1_000, has_way: bool = True) -> None:
        self.stream = ChatStream(keep_usage=True)
        self.writes: list[bytes] = []
        self.framed: list[bytes] = []
        self._writes_left = writes_left
        self._has_way = has_way

    def take(self, data: bytes) -> bool:
        forward = self.stream.feed(data)
        if forward:
            self.writes.append(chunk(forward))
            self._writes_left -= 1
        return self._writes_left > 0 and not self.stream.done and not self.stream.failed

    def knows(self, data: bytes, start: int, end: int) -> bool:
        return self.stream.knows(data, start, end)

    def way_out(self) -> "Client | None":
        return self if self._has_way else None

    def write_now(self, data: bytes) -> None:
        self.writes.append(data)
        self.framed.append(data)
        self._writes_left -= 1

    def passed(self) -> bool:
        return self._writes_left > 0


def body_of(raw: bytes) -> bytes:
    """Return what another parser reads from a chunked body."""
    got: list[bytes] = []

    class Reader:
        def on_body(self, data: bytes) -> None:
            got.append(data)

    httptools.HttpResponseParser(Reader()).feed_data(HEAD + raw)
    return b"".join(got)


def opened() -> EngineConnection:
    connection = EngineConnection(_given_back, KnownReplies(), Outbox())
    connection.connection_made(Socket())
    return connection


def _given_back(_connection: EngineConnection) -> None: ...


async def poured(client: Client, pieces: list[bytes]) -> tuple[EngineConnection, bool]:
    """Return the connection after a reply's pieces, and whether its body has ended."""
    connection = opened()
    asking = asyncio.ensure_future(connection.request(b"", b"", size=0, bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(HEAD)
    await asking
    pouring = asyncio.ensure_future(connection.pour(client.take, client))
    await asyncio.sleep(0)
    for piece in pieces:
        connection.data_received(piece)
    return connection, await pouring


async def test_chunks_that_came_together_leave_in_one_write() -> None:
    client = Client()
    together = b"".join(chunk(event(f"word {number}")) for number in range(5))
    await poured(
        client, [*(chunk(event(text)) for text in ("a", "b", "c")), together, chunk(b"data: [DONE]\n\n") + END]
    )
    assert together in client.framed
    assert client.stream.data_events == 8


async def test_what_is_not_known_is_read_and_what_was_before_it_is_not_lost() -> None:
    client = Client()
    odd = chunk(b": a comment\n\n")
    pieces = [chunk(event("a")), chunk(event("b")), chunk(event("c")) + chunk(event("d")) + odd + chunk(event("e"))]
    await poured(client, [*pieces, chunk(b"data: [DONE]\n\n") + END])
    assert body_of(b"".join(client.writes) + END) == body_of(b"".join(pieces) + END)
    assert client.stream.data_events == 5


async def test_a_client_that_reads_slowly_gets_nothing_more_until_it_is_poured_again() -> None:
    client = Client(writes_left=3)
    words = [chunk(event(f"word {number}")) for number in range(8)]
    connection, ended = await poured(client, [*words, chunk(b"data: [DONE]\n\n") + END])
    assert not ended
    assert body_of(b"".join(client.writes) + END) == body_of(b"".join(words[:3]) + END)
    again = Client()
    again.stream = client.stream
    await connection.pour(again.take, again)
    assert body_of(b"".join([*client.writes, *again.writes]) + END) == body_of(b"".join(words) + END)


async def test_a_reply_that_takes_another_form_is_never_passed_on_as_it_came() -> None:
    client = Client(has_way=False)
    words = [chunk(event(f"word {number}")) for number in range(5)]
    await poured(client, [*words, b"".join(words), chunk(b"data: [DONE]\n\n") + END])
    assert not client.framed
    assert client.stream.data_events == 10


@pytest.mark.parametrize(
    "spoiled",
    [
        b"5\r\nab\r\n",
        b"-5\r\nabcde\r\n",
        b"+5\r\nabcde\r\n",
        b"0x5\r\nabcde\r\n",
        b"5 \r\nabcde\r\n",
        b"5;x=1\r\nabcde\r\n",
    ],
)
async def test_a_size_of_another_writing_is_left_to_the_parser(spoiled: bytes) -> None:
    client = Client()
    known = [chunk(event(text)) for text in ("a", "b", "c")]
    connection = opened()
    asking = asyncio.ensure_future(connection.request(b"", b"", size=0, bodiless=False))
    await asyncio.sleep(0)
    connection.data_received(HEAD)
    await asking
    pouring = asyncio.ensure_future(connection.pour(client.take, client))
    await asyncio.sleep(0)
    for piece in (*known, chunk(event("d")) + spoiled):
        connection.data_received(piece)
    pouring.cancel()
    await asyncio.gather(pouring, return_exceptions=True)
    assert spoiled not in b"".join(client.framed)
    assert client.stream.data_events == 4


TEXTS = st.lists(st.text(st.characters(exclude_characters='"\\', exclude_categories=("C",)), max_size=12), max_size=12)


@given(texts=TEXTS, cuts=st.lists(st.integers(0, 4000), max_size=20), glue=st.lists(st.booleans(), max_size=12))
def test_however_it_is_cut_the_client_reads_what_the_engine_wrote(
    texts: list[str], cuts: list[int], glue: list[bool]
) -> None:
    events = [event(text) for text in texts]
    framed = b""
    for number, told in enumerate(events):
        # Some engines put two events into one chunk.
        joined = number + 1 < len(events) and number < len(glue) and glue[number]
        framed += chunk(told + events[number + 1]) if joined else chunk(told)
    raw = framed + chunk(b"data: [DONE]\n\n") + END
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    pieces: list[Any] = [raw[a:b] for a, b in itertools.pairwise(places)]
    client = Client()
    asyncio.run(poured(client, pieces))
    assert body_of(b"".join(client.writes) + END) == body_of(framed + END)
    assert client.stream.done
