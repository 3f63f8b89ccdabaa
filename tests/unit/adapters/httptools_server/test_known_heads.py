"""The memo of request heads: it may equate two heads only where a parser would read both alike."""

import itertools

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shipway.adapters.httptools_server import known_heads
from shipway.adapters.httptools_server.known_heads import KnownHeads

LINES = [
    b"POST /v1/chat/completions HTTP/1.1",
    b"host: x",
    b"content-type: application/json",
    b"authorization: Bearer swk_a",
    b"content-length: 5",
]
BODY = b'{"a"}'


def head(*lines: bytes, instead: dict[int, bytes] | None = None) -> bytes:
    own = [(instead or {}).get(number, line) for number, line in enumerate(LINES)]
    return b"\r\n".join([*own[:4], *lines, *own[4:]]) + b"\r\n\r\n"


PLAIN = head()


def learned(*heads: bytes) -> KnownHeads:
    memo = KnownHeads()
    for one in heads or (PLAIN,):
        memo.find(one + BODY)
    return memo


def test_an_equal_head_with_another_length_means_the_same():
    memo = learned()
    first = memo.find(PLAIN + BODY)
    other = memo.find(PLAIN.replace(b"h: 5", b"h: 12") + b"x" * 12)
    assert first is not None
    assert other is not None
    assert first[0] is other[0]
    assert (first[1:], other[1:]) == ((len(PLAIN), 5), (len(PLAIN) + 1, 12))


@pytest.mark.parametrize("spelling", [b"content-length", b"Content-Length", b"CONTENT-length", b"content-Length"])
def test_each_usual_spelling_of_the_length_is_known(spelling):
    assert KnownHeads().find(head(instead={4: spelling + b": 5"}) + BODY) is not None


TRICKS = {
    "two-lengths": head(b"content-length: 5"),
    "two-different-lengths": head(b"content-length: 6"),
    "two-lengths-one-without-blank": head(b"content-length:6"),
    "two-lengths-one-in-capitals": head(b"CONTENT-LENGTH: 6"),
    "two-lengths-one-with-a-tab": head(b"content-length:\t6"),
    "length-before-a-second-one": head(instead={4: b"content-length: 5\r\ncontent-length: 5"}),
    "no-length": head(instead={4: b"x: y"}),
    "length-of-another-name": head(instead={4: b"x-length: 5"}),
    "length-of-another-name-first": head(b"x-length: 6"),
    "length-in-a-value": head(b"x: content-length: 6"),
    "length-in-the-address": head(instead={0: b"POST /v1/chat/completions?content-length: 5 HTTP/1.1"}),
    "chunked": head(b"transfer-encoding: chunked"),
    "chunked-in-capitals": head(b"Transfer-Encoding: Chunked"),
    "chunked-with-a-tab": head(b"transfer-encoding:\tchunked"),
    "identity": head(b"transfer-encoding: identity"),
    "folded-length": head(instead={4: b"content-length: 5\r\n 6"}),
    "folded-other": head(b"x: y\r\n z"),
    "blank-before-colon": head(instead={4: b"content-length : 5"}),
    "two-blanks": head(instead={4: b"content-length:  5"}),
    "blank-behind": head(instead={4: b"content-length: 5 "}),
    "list": head(instead={4: b"content-length: 5, 5"}),
    "plus": head(instead={4: b"content-length: +5"}),
    "minus": head(instead={4: b"content-length: -5"}),
    "hexadecimal": head(instead={4: b"content-length: 0x5"}),
    "digits-of-another-script": head(instead={4: "content-length: \u0665".encode()}),
    "empty": head(instead={4: b"content-length: "}),
    "too-many-digits": head(instead={4: b"content-length: 000005"}),
    "too-large": head(instead={4: b"content-length: 99999"}),
    "nul": head(b"x: a\0b"),
    "bare-line-feed": head(b"x: a\ncontent-length: 6"),
    "bare-carriage-return": head(b"x: a\rcontent-length: 6"),
    "line-feeds-end-it-early": head(b"x: a\n\nGET / HTTP/1.1"),
    "old": head(instead={0: b"POST /v1/chat/completions HTTP/1.0"}),
    "another-method": head(instead={0: b"PUT /v1/chat/completions HTTP/1.1"}),
    "method-in-small-letters": head(instead={0: b"post /v1/chat/completions HTTP/1.1"}),
    "whole-address": head(instead={0: b"POST http://x/v1/chat/completions HTTP/1.1"}),
    "query": head(instead={0: b"POST /v1/chat/completions?x HTTP/1.1"}),
    "fragment": head(instead={0: b"POST /v1/chat/completions#x HTTP/1.1"}),
    "percent": head(instead={0: b"POST /v1/chat%2Fcompletions HTTP/1.1"}),
    "no-host": head(instead={1: b"x: y"}),
    "two-hosts": head(b"host: y"),
    "two-keys": head(b"authorization: Bearer swk_b"),
    "close": head(b"connection: close"),
    "close-among-others": head(b"connection: x, close"),
    "upgrade": head(b"connection: upgrade\r\nupgrade: websocket"),
    "upgrade-alone": head(b"upgrade: h2c"),
    "expect": head(b"expect: 100-continue"),
    "trailers": head(b"te: trailers\r\ntrailer: x"),
    "encoded": head(b"content-encoding: gzip"),
    "another-type": head(instead={2: b"content-type: text/plain"}),
    "traced": head(b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    "pinned": head(b"x-shipway-release: rel_a"),
    "in-a-hurry": head(b"x-request-timeout-ms: 5"),
    "long": head(b"x: " + b"y" * 4096),
}


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
def test_no_head_that_means_another_thing_is_taken_for_a_known_one(trick):
    for memo in (KnownHeads(), learned(), learned(trick), learned(PLAIN, trick)):
        assert memo.find(trick + BODY) is None
        assert memo.find(trick + BODY) is None
    assert learned(trick).find(PLAIN + BODY) is not None


@pytest.mark.parametrize("data", [PLAIN[:-1], PLAIN[:-2], PLAIN[:60], b"", b"\r\n", b"\r\n\r\n", b"ength: 5\r\n\r\n"])
def test_what_is_no_whole_head_is_not_taken(data):
    assert learned().find(data) is None


def test_where_the_body_ends_is_said_however_much_has_come():
    memo = learned()
    for come in (
        b"",
        BODY[:2],
        BODY,
        BODY + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        BODY + b"content-length: 99\r\n\r\n",
    ):
        found = memo.find(PLAIN + come)
        assert found is not None
        assert found[1:] == (len(PLAIN), 5)


class Read:
    """What the parser makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.heads = 0
        self.ends = 0
        self.body = b""
        self.error = ""
        try:
            httptools.HttpRequestParser(self).feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.error = repr(error)

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.ends += 1


PIECES = [
    b"\n", b"\r", b"\r\n", b"\r\n ", b" ", b"\t", b"\0", b"\x0b", b"\x85", b":", b": ", b",", b"5", b"0", b"+", b"\n\n",
    b"\n\r\n", b"content-length: 3\r\n", b"content-length:3\r\n", b"Content-Length: 7\n", b"x-length: 9\r\n",
    b"transfer-encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n", b"ength: ", b"\r\n 6",
    b"connection: close\r\n",
]  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), st.sampled_from(PIECES)), max_size=3),
    st.sampled_from([b"3", b"0", b"07", b"10"]),
)
@example([(PLAIN.index(b"content-l"), 0, b"content-length: 3\r\n")], b"3")
@settings(max_examples=400)
def test_whatever_is_taken_the_parser_reads_the_same(damages, other):
    """The second head differs from the first in its digits alone, so it may come out of the memo."""
    data = bytearray(PLAIN)
    for place, length, there in damages:
        data[place : place + length] = there
    memo = KnownHeads()
    for raw in (bytes(data), bytes(data).replace(b"ength: 5", b"ength: " + other)):
        found = memo.find(raw + b"x" * 10)
        if found is None:
            continue
        _, start, size = found
        if size <= 10:
            read = Read((raw + b"x" * 10)[: start + size])
            assert (read.heads, read.ends, read.body, read.error) == (1, 1, b"x" * size, "")


def test_ten_thousand_heads_do_not_pile_up():
    memo = KnownHeads()
    for number in range(10_000):
        memo.find(head(b"x: %d" % number) + BODY)
        memo.find(head(b"te: %d" % number) + BODY)
    assert len(memo._heads) <= known_heads._MOST
    assert memo.find(PLAIN + BODY) is not None


def test_keys_that_differ_have_heads_of_their_own():
    memo = KnownHeads()
    named = (b"swk_a", b"swk_b", b"SWK_a", b"swk_a ", b"swk_aa")
    found = [memo.find(head(instead={3: b"authorization: Bearer " + key}) + BODY) for key in named]
    for one, two in itertools.combinations([entry[0] for entry in found if entry is not None], 2):
        assert one is not two
