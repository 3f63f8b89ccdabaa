import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipway.adapters.httptools_client.reply import Reply
from shipway.gateway.ports import EngineBrokenError

BODY = b'{"choices": [{"message": {"content": "gr\xc3\xbc\xc3\x9fe"}}]}'
SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKED = HEAD + b"5\r\ndata:\r\n9;x=y\r\n [DONE]\n\n\r\n0\r\ntrailer: t\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + SIZED
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"
WHOLE = [SIZED, CHUNKED, EMPTY, CONTINUED, REFUSED]


def replied(*pieces: bytes, bodiless: bool = False, closed: bool = False) -> Reply:
    reply = Reply()
    reply.expect(bodiless=bodiless)
    for piece in pieces:
        reply.feed(piece)
    if closed:
        reply.end_of_file()
    return reply


def passed(reply: Reply, data: bytes) -> bytes:
    """Return what a piece brings of the body, as a stream's connection takes it."""
    held = reply.chunk_in(data)
    if held is None:
        reply.feed(data)
        held = b"".join(reply.body)
        reply.body.clear()
    return held


def seen(reply: Reply) -> tuple:
    return reply.status, tuple(reply.fields), b"".join(reply.body), reply.ended, reply.last


@given(st.sampled_from(WHOLE), st.lists(st.integers(min_value=1, max_value=200), max_size=20))
def test_a_reply_is_the_same_wherever_the_network_cuts_it(raw, cuts):
    places = sorted({cut % len(raw) for cut in cuts} - {0})
    pieces = [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]
    assert seen(replied(*pieces)) == seen(replied(raw))


@given(
    st.lists(
        st.sampled_from([b"a", b"data: {}\n\n", b"\r\n", b"0\r\n\r\n", b"5\r\nabcde\r\n", b"x" * 16, b"y" * 300]),
        max_size=8,
    ),
    st.lists(st.integers(min_value=1, max_value=2000), max_size=8),
    st.sampled_from([b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"%x;x=y\r\n"]),
)
def test_a_body_is_the_same_whether_whole_chunks_pass_the_parser_by_or_not(held, cuts, written):
    frames = [written % len(data) + data + b"\r\n" for data in held]
    raw = b"".join([HEAD, *frames, b"0\r\n\r\n"])
    borders = itertools.accumulate((len(frame) for frame in frames), initial=len(HEAD))
    places = sorted({*borders, *(cut % len(raw) for cut in cuts)} - {0})
    reply = replied()
    body = b""
    for start, end in zip([0, *places], [*places, len(raw)], strict=True):
        body += passed(reply, raw[start:end])

    assert (body, reply.ended, reply.received) == (b"".join(held), True, len(body))


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [(SIZED, 200, BODY), (CHUNKED, 200, b"data: [DONE]\n\n"), (EMPTY, 204, b""), (CONTINUED, 200, BODY)],
)
def test_a_whole_reply_ends_and_leaves_the_connection_for_another(raw, status, body):
    assert seen(replied(raw))[0::2] == (status, body, False)
    assert replied(raw).ended


def test_a_whole_chunk_passes_the_parser_by():
    reply = replied(HEAD, b"1\r\na\r\n")

    assert reply.chunk_in(b"5\r\n\r\n\r\n\n\r\n") == b"\r\n\r\n\n"
    assert reply.chunk_in(b"12c\r\n" + b"x" * 300 + b"\r\n") == b"x" * 300
    assert (b"".join(reply.body), reply.received) == (b"a", 306)


@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nabcd\r\n",
        b"5\r\nabcde",
        b"5\r\nabcdef\r\n",
        b"0\r\n\r\n",
        b"2\r\nab\r\n2\r\ncd\r\n",
        b"05\r\nabcde\r\n",
        b"\r\n",
        b"",
    ],
)
def test_what_is_not_one_whole_chunk_has_to_be_parsed(data):
    assert replied(HEAD, b"1\r\na\r\n").chunk_in(data) is None


@pytest.mark.parametrize(
    "before", [HEAD + b"3\r\n", HEAD + b"3\r\nab", HEAD + b"3\r\nabc", HEAD + b"1\r\na\r\n1", CHUNKED, SIZED]
)
def test_inside_a_chunk_and_after_the_last_one_nothing_passes_the_parser_by(before):
    assert replied(before).chunk_in(b"1\r\na\r\n") is None


@given(st.binary(max_size=400))
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde")
@example(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nabcde")
@example(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n")
@example(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n")
@example(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
@example(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
def test_no_bytes_of_an_engine_raise_anything_but_a_broken_engine(raw):
    try:
        reply = replied(raw, closed=True)
    except EngineBrokenError:
        return
    assert not reply.ended or reply.status >= 200


@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(min_value=0, max_value=500), st.binary(max_size=3)), min_size=1, max_size=4),
)
def test_no_damaged_reply_raises_anything_but_a_broken_engine(raw, damages):
    data = bytearray(raw)
    for place, bytes_there in damages:
        start = place % len(data) if data else 0
        data[start : start + 1] = bytes_there
    try:
        replied(bytes(data), closed=True)
    except EngineBrokenError:
        return


@pytest.mark.parametrize(
    "raw",
    [
        SIZED + SIZED,
        SIZED + b"x",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ],
)
def test_what_two_readers_could_read_differently_is_refused(raw):
    with pytest.raises(EngineBrokenError):
        replied(raw)


def test_bytes_that_no_request_asked_for_are_refused():
    with pytest.raises(EngineBrokenError, match="no request"):
        Reply().feed(SIZED)


def test_a_body_without_a_length_ends_with_the_connection():
    reply = replied(b"HTTP/1.1 200 OK\r\n\r\npart", b" two")
    assert not reply.ended
    reply.end_of_file()
    assert (reply.ended, b"".join(reply.body), reply.last) == (True, b"part two", True)


def test_a_sized_body_that_is_cut_never_ends():
    assert not replied(SIZED[:-1], closed=True).ended
    assert not replied(CHUNKED[:-2], closed=True).ended


def test_the_reply_to_head_has_no_body_and_ends_the_connection():
    reply = replied(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", bodiless=True)
    assert (reply.status, reply.ended, reply.last) == (200, True, True)


def test_a_reply_that_says_close_is_the_last():
    assert replied(SIZED.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n")).last
    assert not replied(SIZED).last
