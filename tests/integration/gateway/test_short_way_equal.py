"""Both ways, side by side: the same bytes of client and engine give the same reply, record and counts."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.integration.gateway.conftest import QUICK, Bench, Script, running, warm
from tests.integration.gateway.test_short_way import PLACES, REPLY, Client, book, flights, left, settled

from shipway.gateway.model import ModelPrice
from shipway.gateway.quota_book import QuotaBook

pytestmark = pytest.mark.anyio

PATIENT = replace(
    QUICK, breaker_failures=10**9, retry_share=1000.0, max_reply_bytes=3000, max_input_chars=400, keep_question=True,
    prices={"tiny": ModelPrice(input_usd=1.0, cache_read_usd=0.5, output_usd=3.0)},
)  # fmt: skip
LAST = b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer swk_invoke\r\n\r\n"
BODIES: list[Any] = [
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "user", "content": "hi"}], "metadata": {"conversation_id": "c1"}, "seed": None},
    {"messages": [{"role": "user", "content": "hi"}], "previous_response_id": "r1", "max_tokens": 5, "n": 2},
    {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 9, "stream": False},
    {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "ü"}]}]},
    {"messages": [{"role": "user", "content": "x" * 500}]},
    {"messages": [{"role": "user", "content": "hi"}], "metadata": {"conversation_id": ""}},
    {"messages": [{"role": "robot", "content": "hi"}]},
    {"messages": []},
    {"messages": [{"role": "user", "content": "hi"}], "temperature": "hot"},
    {"prompt": "one", "messages": ["two"]},
    {"prompt": [1, 2, 3]},
    {"input": ["a", "b"], "stream": True},
    {"query": "q", "documents": ["a", {"text": "b"}]},
    {"messages": [{"role": "user", "content": "a\x00b"}]},
    [],
]
RAW = [b"", b"{", b'{"model":"chat","model":"chat"}', b'{"model":"chat","messages":[{"role":"user","content":"\xff"}]}']
USAGES: list[Any] = [
    REPLY["usage"],
    {"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}},
    {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 30},
    {"prompt_tokens": -1, "completion_tokens": "x"},
    {"prompt_tokens": 2, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}},
    {"total_tokens": 12},
    [],
    None,
]
HEADERS = [
    b"", b"x-shipway-conversation: c7\r\n", b"x-shipway-conversation: \r\n", b"x-shipway-conversation: a\x80\r\n",
    b"x-request-timeout-ms: 5000\r\n", b"x-request-timeout-ms: 0\r\n", b"x-shipway-release: rel_a\r\n",
    b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n", b"content-encoding: gzip\r\n",
    b"accept: text/event-stream\r\n", b"x: 1\r\nx: 2\r\n", b"x-length: 7\r\n", b"Connection: Keep-Alive\r\n",
]  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What a client sends."""

    path: bytes
    key: bytes
    kind: bytes
    extra: bytes
    body: bytes
    name: bytes = b"content-length"

    def raw(self) -> bytes:
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\nauthorization: Bearer %b\r\n%b%b: %d\r\n\r\n"
        return head % (self.path, self.kind, self.key, self.extra, self.name, len(self.body)) + self.body


@dataclass(frozen=True)
class Told:
    """What an engine sends."""

    status: int
    framing: str
    body: bytes
    before: bytes = b""
    extra: bytes = b""
    behind: bytes = b""
    cuts: tuple[int, ...] = ()

    @property
    def closes(self) -> bool:
        # Only where the gateway learns it from the reply: else it would be a race between the end and the next request.
        return self.framing not in {"length", "chunked"}

    def pieces(self) -> list[bytes]:
        version = b"1.0" if self.framing == "old" else b"1.1"
        size = len(self.body) + (3 if self.framing == "short" else 0)
        lines, body = b"content-length: %d\r\n" % size, self.body
        if self.framing == "chunked":
            lines = b"transfer-encoding: chunked\r\n"
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
        elif self.framing == "until-close":
            lines = b""
        head = b"%bHTTP/%b %d X\r\ncontent-type: application/json\r\n%b%b\r\n"
        raw = head % (self.before, version, self.status, self.extra, lines) + body + self.behind
        # What nobody asked for comes with the reply: later, it would be a race between it and the next request.
        places = sorted({place % len(raw) for place in self.cuts} - {0}) if not self.behind else []
        return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]

    async def play(self, wire: Any) -> None:
        for piece in self.pieces():
            await wire.send(piece)
            await asyncio.sleep(0.0005)
        if self.closes:
            wire._writer.close()


def _body(draw: Any) -> bytes:
    value = draw(st.sampled_from(BODIES))
    if draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from(RAW))
    return orjson.dumps({"model": draw(st.sampled_from(["chat"] * 6 + ["other", "none", "ask", "fixer", ""])), **value}
                        if isinstance(value, dict) else value)  # fmt: skip


FITTING = [(b"/v1/chat/completions", body) for body in BODIES[:6]] + [
    (b"/v1/completions", BODIES[11]), (b"/v1/embeddings", BODIES[12]), (b"/rerank", BODIES[13]),
    (b"/v2/rerank", BODIES[13]), (b"/v1/completions", BODIES[10]),
]  # fmt: skip


@st.composite
def asks(draw: Any) -> Asked:
    name = draw(st.sampled_from([b"content-length", b"Content-Length", b"CONTENT-LENGTH"]))
    if draw(st.integers(0, 3)):
        path, value = draw(st.sampled_from(FITTING))
        body = orjson.dumps({"model": "chat", **value})
        extra = draw(st.sampled_from([b""] * 6 + HEADERS))
        return Asked(path, b"swk_invoke", b"application/json", extra, body, name)
    odd = [b"/v1/chat/completions?x=1", b"/v1/chat%2Fcompletions", b"/v1/nothing", b"/health", b"/v1/embeddings"]
    return Asked(
        draw(st.sampled_from([b"/v1/chat/completions"] * 5 + odd)),
        draw(st.sampled_from([b"swk_invoke"] * 6 + [b"swk_operate", b"swk_narrow", b"swk_expired", b"swk_wrong"])),
        draw(st.sampled_from([b"application/json"] * 4 + [b"Application/JSON; charset=UTF-8", b"text/plain"])),
        draw(st.sampled_from(HEADERS)),
        _body(draw),
        name,
    )


@st.composite
def tells(draw: Any) -> Told:
    reply = {"choices": REPLY["choices"], "usage": draw(st.sampled_from(USAGES))}
    bodies = [orjson.dumps(reply)] * 6 + [orjson.dumps(REPLY, option=orjson.OPT_INDENT_2)]
    odd = [b"", b"[]", b"{", b'{"x":"' + b"y" * 4000 + b'"}', b'{"error":{"message":"no","code":"c"}}']
    framings = ["length"] * 5 + ["chunked", "until-close", "old", "short"]
    return Told(
        draw(st.sampled_from([200] * 8 + [201, 204, 400, 401, 429, 500, 503])),
        draw(st.sampled_from(framings)),
        draw(st.sampled_from(bodies + odd)),
        draw(st.sampled_from([b""] * 5 + [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: a\r\n\r\n"])),
        draw(st.sampled_from([b""] * 5 + [b"connection: close\r\n", b"x-length: 3\r\n", b"retry-after: 7\r\n"])),
        draw(
            st.sampled_from(
                [b""] * 6 + [b"\r\n", b"garbage", b"HTTP/1.1 2", b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}"]
            )
        ),
        tuple(draw(st.lists(st.integers(1, 2000), max_size=3))),
    )


class Side:
    """One of the two gateways."""

    def __init__(self, bench: Bench, quotas: QuotaBook) -> None:
        self.bench = bench
        self.quotas = quotas

    async def begin(self, *scripts: Script) -> tuple[Client, tuple[int, ...]]:
        """Let the engine play scripts; return a client, and how much had come before."""
        bench = self.bench
        marks = len(bench.sink.records), len(bench.logged), len(bench.metrics.seen), len(bench.upstream.heard)
        # An engine that asks for a pause gets it, on either way, until the example is over.
        bench.gateway._api.dispatch._pauses._pauses.clear()
        bench.upstream.play(*scripts)
        await warm(bench.gateway._parts.engines, bench.upstream, 2)
        return await Client.of(bench), marks

    async def since(self, marks: tuple[int, ...], replies: list[Any]) -> dict[str, Any]:
        """Return all that came since, when everything is given back."""
        bench = self.bench
        await settled(bench)
        return {
            "replies": replies,
            "records": [recorded(record) for record in bench.sink.records[marks[0] :]],
            "logged": [recorded(record) for record in bench.logged[marks[1] :]],
            "counted": [recorded(record) for record in bench.metrics.seen[marks[2] :]],
            "heard": [_heard(heard) for heard in bench.upstream.heard[marks[3] :]],
            "left": await left(self.quotas),
            "open": bench.gateway.calls.streams_open,
        }

    async def outcome(self, asked: list[Asked], told: list[Told], cuts: list[int]) -> dict[str, Any]:
        """Send requests on one connection, each cut alike, and return all that came of them."""
        client, marks = await self.begin(*(one.play for one in told))
        replies = []
        try:
            for one in asked:
                raw = one.raw()
                places = sorted({place % len(raw) for place in cuts} - {0})
                for start, end in zip([0, *places], [*places, len(raw)], strict=True):
                    client.send(raw[start:end])
                    await asyncio.sleep(0.0005 if places else 0)
                status, headers, body = await client.reply()
                replies.append((status, plain_headers(headers), _plain(body)))
                if headers.get("connection") == "close":
                    break
            else:
                client.send(LAST)
                replies.append(("last", (await client.reply())[0], await client.rest()))
        finally:
            client.leave()
        return await self.since(marks, replies)


def _heard(heard: Any) -> tuple[str, Any, int, dict[str, str]]:
    """Return what an engine was asked; the order of its keys means nothing."""
    return heard.target, orjson.loads(heard.body), len(heard.body), _asked(heard.headers)


def plain_headers(headers: dict[str, str]) -> dict[str, str]:
    assert headers.pop("x-request-id", "").startswith("req_")
    assert headers.pop("date")
    headers.pop("content-length")
    # Some of the pause is over by the time of the reply.
    return {name: "some" if name == "retry-after" else value for name, value in headers.items()}


def _plain(body: Any) -> Any:
    """Return a body without what is another each time; `id` and `created` are the gateway's on a route that answers."""
    if not isinstance(body, dict):
        return body
    own = {"id", "created"} if str(body.get("id", "")).startswith("chatcmpl-req_") else set()
    return {name: value for name, value in body.items() if name not in {"request_id", *own}}


def recorded(record: Any) -> dict[str, Any]:
    """Return what of a record is the same each time; of the time to the first token, whether it was taken."""
    kept = {name: value for name, value in asdict(record).items() if name not in {"id", "at_s", "latency_ms"}}
    return {**kept, "ttft_ms": record.ttft_ms is not None}


def _asked(headers: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name not in {"x-request-id", "host", "traceparent"}}
    # A caller's own deadline has run for some milliseconds.
    return {**kept, "x-request-timeout-ms": str(-(-int(headers["x-request-timeout-ms"]) // 1000))}


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    books = book(), book()
    async with (
        running(PATIENT, short_way=True, quotas=books[0]) as short,
        running(PATIENT, short_way=False, quotas=books[1]) as long,
    ):
        yield Side(short, books[0]), Side(long, books[1])


PLAIN = Asked(
    b"/v1/chat/completions", b"swk_invoke", b"application/json", b"", orjson.dumps({"model": "chat", **BODIES[0]})
)
GOOD = Told(200, "length", orjson.dumps(REPLY))
NONE = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=90
)


async def same(sides: tuple[Side, Side], asked: list[Asked], told: list[Told], cuts: list[int]) -> None:
    short = await sides[0].outcome(asked, told, cuts)
    long = await sides[1].outcome(asked, told, cuts)
    assert_equal(short, long)


def assert_equal(short: dict[str, Any], long: dict[str, Any]) -> None:
    for name, value in long.items():
        assert short[name] == value, name
    assert (short["left"][PLACES], short["open"]) == (50, 0)


@given(asked=st.lists(asks(), min_size=1, max_size=3), told=st.lists(tells(), min_size=1, max_size=3))
@example(asked=[PLAIN, PLAIN], told=[GOOD])
@NONE
async def test_whatever_client_and_engine_say_both_ways_come_to_the_same(sides, asked, told):
    await same(sides, asked, told, [])


@given(cuts=st.lists(st.integers(1, 1000), max_size=6), told=tells())
@example(cuts=[250], told=GOOD)
@example(cuts=list(range(230, 300, 7)), told=GOOD)
@settings(NONE, max_examples=20)
async def test_both_ways_read_a_request_the_same_wherever_it_is_cut(sides, cuts, told):
    await same(sides, [PLAIN, PLAIN], [told], cuts)


async def test_most_of_what_is_compared_went_the_short_way(sides):
    with flights(sides[0].bench) as taken:
        await same(sides, [PLAIN] * 3, [GOOD, replace(GOOD, status=500), GOOD], [])
        await same(sides, [PLAIN], [GOOD], [len(PLAIN.raw()) - 9])
    assert len(taken) == 4
