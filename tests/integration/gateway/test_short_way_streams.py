"""Streams on the short way: both ways pass the same on, record the same, and end in the same error."""

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.integration.gateway.conftest import running, warm
from tests.integration.gateway.test_short_way import (
    PLACES,
    Client,
    asking,
    book,
    dial,
    flights,
    left,
    planned,
    settled,
    until,
)
from tests.integration.gateway.test_short_way_equal import (
    NONE,
    PATIENT,
    Side,
    assert_equal,
    plain_headers,
    recorded,
    sides,
)

from shipway.gateway.routing import Rule

pytestmark = pytest.mark.anyio

__all__ = ["dial", "sides"]

BODY: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": True}
BODIES = [
    BODY,
    {**BODY, "stream_options": {"include_usage": True}},
    {**BODY, "stream_options": {"include_usage": False}},
    {**BODY, "max_completion_tokens": 9, "seed": None},
    {**BODY, "metadata": {"conversation_id": "c1"}, "max_tokens": 3},
]


def event(text: str, **more: Any) -> bytes:
    choices = [{"index": 0, "delta": {"content": text}}]
    return b"data: " + orjson.dumps({"id": "c", "choices": choices, **more}) + b"\n\n"


USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
DONE = b"data: [DONE]\n\n"
EVENTS = [
    event("a"), event("b"), event("ü"), event('"\\'), event("x" * 900), USAGE, b": hello\n\n", b"data:{}\n\n",
    event("c", usage={"prompt_tokens": 2, "completion_tokens": 1}), b'data: {"choices":[{"delta":{}}]}\r\n\r\n',
]  # fmt: skip
ODD = [
    b'data: {"error":{"message":"no","code":"c"}}\n\n', b"data: {\n\n", b"data: \xff\n\n", b"event: x\ndata: 1\n\n",
    b'data: {"choices":[{"delta":{"content":"\xc3"}}]}\n\n', DONE, event("z" * 4000), b"data: NaN\n\n",
]  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """What an engine sends: events in chunks, or whatever `cuts` make of their bytes."""

    events: tuple[bytes, ...]
    end: bytes = USAGE + DONE
    framing: str = "chunked"
    cuts: tuple[int, ...] = ()
    tail: str = "with"
    status: int = 200
    kind: bytes = b"text/event-stream"

    def raw(self) -> list[bytes]:
        lines = {"chunked": b"transfer-encoding: chunked\r\n", "until-close": b"", "length": b"content-length: %d\r\n"}
        chunks = [*self.events, *([self.end] if self.end else [])]
        if self.framing == "chunked":
            body = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
            body += {"with": [b"0\r\n\r\n"], "cut": [], "later": [b"0\r\n", b"\r\n"]}[self.tail]
        else:
            body = chunks
        line = lines[self.framing]
        line = line % len(b"".join(chunks)) if self.framing == "length" else line
        head = b"HTTP/1.1 %d X\r\ncontent-type: %b\r\n%b\r\n" % (self.status, self.kind, line)
        whole = b"".join([head, *body])
        if not self.cuts:
            # As engines send it: the head, then each event by itself.
            return [head, *body]
        places = sorted({place % len(whole) for place in self.cuts} - {0})
        return [whole[start:stop] for start, stop in zip([0, *places], [*places, len(whole)], strict=True)]

    async def play(self, wire: Any) -> None:
        for piece in self.raw():
            await wire.send(piece)
            await asyncio.sleep(0.0005)
        if self.framing == "until-close" or self.tail == "cut":
            wire._writer.close()


STREAMS = st.builds(
    Stream,
    events=st.lists(st.sampled_from(EVENTS * 3 + ODD), max_size=7).map(tuple),
    end=st.sampled_from([USAGE + DONE, DONE, USAGE + DONE, b"", b"data: [DO", b"data: [DONE]"]),
    framing=st.sampled_from(["chunked"] * 6 + ["until-close", "length"]),
    cuts=st.one_of(st.just(()), st.lists(st.integers(1, 3000), max_size=8).map(tuple)),
    tail=st.sampled_from(["with", "with", "later", "cut"]),
    status=st.sampled_from([200] * 12 + [429, 500, 404]),
    kind=st.sampled_from([b"text/event-stream"] * 8 + [b"Text/Event-Stream; charset=utf-8", b"application/json"]),
)


async def heard_by(client: Client) -> tuple[int, dict[str, str], bytes]:
    """Return a reply with its body out of its chunks; `cut` behind it when it has no end."""
    async with asyncio.timeout(20):
        head = await client._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        if "content-length" in headers:
            body = await client._reader.readexactly(int(headers["content-length"]))
        else:
            headers["content-length"] = ""
            parts = []
            try:
                while size := int(await client._reader.readuntil(b"\r\n"), 16):
                    parts.append((await client._reader.readexactly(size + 2))[:-2])
                await client._reader.readexactly(2)
            except asyncio.IncompleteReadError:
                parts.append(b"cut")
            body = b"".join(parts)
    return int(status.split(" ")[1]), plain_headers(headers), re.sub(rb"req_\w+", b"req", body)


async def outcome(side: Side, bodies: list[dict[str, Any]], streams: list[Stream]) -> dict[str, Any]:
    client, marks = await side.begin(*(stream.play for stream in streams))
    replies = []
    try:
        for body in bodies:
            client.send(asking(body))
            replies.append(await heard_by(client))
            if replies[-1][2].endswith(b"cut"):
                break
    finally:
        client.leave()
    return await side.since(marks, replies)


async def same(sides: tuple[Side, Side], bodies: list[dict[str, Any]], streams: list[Stream]) -> None:
    assert_equal(await outcome(sides[0], bodies, streams), await outcome(sides[1], bodies, streams))


GOOD = Stream((event("a"), event("b"), event("c")))


@given(
    bodies=st.lists(st.sampled_from(BODIES), min_size=1, max_size=2), streams=st.lists(STREAMS, min_size=1, max_size=2)
)
@example(bodies=[BODY, BODY], streams=[GOOD])
@example(bodies=[BODY, BODY], streams=[replace(GOOD, tail="later")])
@example(bodies=[BODY], streams=[replace(GOOD, tail="cut", end=b"")])
@example(bodies=[BODY], streams=[replace(GOOD, cuts=tuple(range(1, 700, 11)))])
@settings(NONE, max_examples=120)
async def test_whatever_an_engine_streams_both_ways_come_to_the_same(sides, bodies, streams):
    await same(sides, bodies, streams)


async def test_most_of_the_streams_that_are_compared_went_the_short_way_to_their_end(sides):
    with flights(sides[0].bench) as taken:
        await same(sides, [BODY] * 3, [GOOD, replace(GOOD, tail="later"), GOOD])
    assert len(taken) == 3
    assert not any(flight.is_handed_over for flight in taken)


# What a stream may come to on its way.


async def head_alone(wire: Any) -> None:
    await wire.head()
    await wire.heard.closed.wait()


async def silent(wire: Any) -> None:
    await wire.head()
    await wire.chunk(event("a"))
    await wire.heard.closed.wait()


async def nothing(wire: Any) -> None:
    await wire.heard.closed.wait()


@pytest.mark.parametrize(("script", "sent"), [(nothing, 0), (head_alone, 0), (silent, 1)])
async def test_an_engine_that_falls_silent_is_cut_and_told_of_alike(dial, script, sent):
    outcomes = []
    for short_way in (True, False):
        hurried = replace(PATIENT, first_token_s=0.2, stream_idle_s=0.2)
        async with running(hurried, short_way=short_way, quotas=book()) as bench:
            bench.upstream.play(script)
            await warm(bench.gateway._parts.engines, bench.upstream, 2)
            client = await dial(bench)
            client.send(asking(BODY))
            reply = await heard_by(client)
            client.leave()
            await settled(bench)
            assert bench.gateway.calls.streams_open == 0
            breaker = next(iter(bench.gateway.calls._breakers.values()))
            outcomes.append((reply, [recorded(record) for record in bench.sink.records], breaker._failed))
    assert outcomes[0] == outcomes[1]
    record = outcomes[0][1][0]
    assert (record["status"], record["events"][:1], record["stream"]) == (504, ("timeout",), True)
    assert record["ttft_ms"] is bool(sent)


async def test_a_client_that_leaves_in_the_middle_ends_the_engines_work_and_pays_for_what_came(dial):
    quotas = book()
    async with running(PATIENT, short_way=True, quotas=quotas) as bench:
        bench.upstream.play(silent)
        await warm(bench.gateway._parts.engines, bench.upstream, 2)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking(BODY))
            await until(lambda: taken and taken[0].stream and taken[0].stream.data_events)
            client.leave()
            await settled(bench)
        async with asyncio.timeout(5):
            await bench.upstream.heard[-1].closed.wait()
        record = bench.sink.records[-1]
        assert (record.status, record.events[:1], record.stream, record.tokens_out) == (499, ("client_gone",), True, 1)
        assert record.tokens_in > 0
        assert ((await left(quotas))[PLACES], bench.gateway.calls.streams_open) == (50, 0)


async def test_a_client_that_reads_slowly_holds_its_engine_back_and_gets_everything_in_order(dial):
    events = [event(f"{number:06d}" + "x" * 8000) for number in range(5000)]
    sent = 0

    async def fast(wire: Any) -> None:
        nonlocal sent
        await wire.head()
        for one in events:
            await wire.chunk(one)
            sent += 1
        await wire.chunk(USAGE + DONE)
        await wire.end()

    async with running(replace(PATIENT, max_reply_bytes=10**8), short_way=True, quotas=book()) as bench:
        bench.upstream.play(fast, GOOD.play)
        await warm(bench.gateway._parts.engines, bench.upstream, 2)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking(BODY))
            await until(lambda: taken and taken[0].is_handed_over)
            assert sent < len(events)
            status, _, body = await heard_by(client)
            client.send(asking(BODY))
            again = await heard_by(client)
        client.leave()
        await settled(bench)
        assert (status, body) == (200, b"".join([*events, DONE]))
        assert again[2] == b"".join([*GOOD.events, DONE])
        assert [record.status for record in bench.sink.records] == [200, 200]
        assert [record.tokens_out for record in bench.sink.records] == [3, 3]


async def test_the_limit_of_a_reply_holds_over_a_change_of_ways(dial):
    """The engine waits between two halves that are small enough each by itself."""
    more = asyncio.Event()

    async def halves(wire: Any) -> None:
        await wire.head()
        await wire.chunk(event("a" * 1800))
        await more.wait()
        await wire.chunk(event("b" * 1800))
        await wire.heard.closed.wait()

    async with running(PATIENT, short_way=True, quotas=book()) as bench:
        bench.upstream.play(halves)
        await warm(bench.gateway._parts.engines, bench.upstream, 2)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking(BODY))
            await until(lambda: taken and taken[0].stream and taken[0].stream.data_events)
            taken[0].slow()
            more.set()
            status, _, body = await heard_by(client)
        client.leave()
        await settled(bench)
        assert (status, taken[0].is_handed_over) == (200, True)
        assert body.startswith(event("a" * 1800))
        assert b"reply_too_large" in body


async def test_a_model_that_a_rule_chose_streams_the_short_way_under_its_name(dial):
    async with running(PATIENT, short_way=True, quotas=book()) as bench:
        planned(bench, Rule(0, low_chars=1000, to="large"), chains={"small": ("small",)})
        bench.upstream.play(GOOD.play)
        await warm(bench.gateway._parts.engines, bench.upstream, 2)
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking(BODY))
            _, headers, body = await heard_by(client)
        client.leave()
        await settled(bench)
        assert headers["x-shipway-model"] == "small"
        assert body == b"".join([*GOOD.events, DONE])
        assert not taken[0].is_handed_over


async def test_a_record_that_cannot_be_written_ends_a_stream_in_an_error_event(dial):
    async with running(PATIENT, short_way=True, quotas=book()) as bench:
        bench.upstream.play(GOOD.play)
        await warm(bench.gateway._parts.engines, bench.upstream, 2)
        bench.sink.full = True
        client = await dial(bench)
        with flights(bench) as taken:
            client.send(asking(BODY))
            _, _, body = await heard_by(client)
        client.leave()
        await settled(bench)
        assert len(taken) == 1
        assert b"[DONE]" not in body
        assert b'"not_recorded"' in body
