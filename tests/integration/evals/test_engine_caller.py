"""Whole requests on real sockets."""

import asyncio
import socket

import pytest

from shipway.core.errors import UnavailableError, UpstreamError, UsageError
from shipway.evals.ports import HttpCall


def post(upstream, path="/v1/x?key=hush", body=b"{}", **options):
    return HttpCall("POST", upstream.url + path, (("content-type", "application/json"),), body, 30.0, **options)


async def test_a_whole_reply_arrives_with_status_headers_and_times(caller, upstream):
    upstream.play(lambda wire: wire.json({"ok": 1}, 503, Retry_After="7"))

    reply = await caller.call(post(upstream))

    assert (reply.status, reply.body, reply.headers["retry-after"]) == (503, b'{"ok":1}', "7")
    assert 0 < reply.ttft_ms <= reply.total_ms
    assert upstream.heard[0].target == "/v1/x?key=hush"


async def test_one_connection_serves_call_after_call(caller, upstream):
    upstream.play(lambda wire: wire.json({}))

    for _ in range(5):
        await caller.call(post(upstream))

    assert upstream.connections == 1


async def test_the_first_byte_of_a_stream_is_the_first_of_its_body(caller, upstream):
    headers_read, order = asyncio.Event(), []

    async def slow(wire):
        await wire.head()
        await headers_read.wait()
        order.append("first byte sent")
        await wire.chunk(b"data: 1\n\n")
        await wire.end()

    upstream.play(slow)
    clock = iter(range(100))
    caller = type(caller)(caller.client, lambda: float(next(clock)))
    calling = asyncio.ensure_future(caller.call(post(upstream)))
    await upstream.arrived.wait()
    headers_read.set()
    reply = await calling

    # Each look at the clock is a second later: start, first byte, end.
    assert (reply.ttft_ms, reply.total_ms) == (1000.0, 2000.0)
    assert order == ["first byte sent"]


async def test_a_reply_of_the_limit_is_whole_and_a_longer_one_is_an_error(caller, upstream):
    upstream.play(lambda wire: wire.json(b"x" * 1000), lambda wire: wire.json(b"x" * 1001))

    assert len((await caller.call(post(upstream, limit_bytes=1000))).body) == 1000
    with pytest.raises(UpstreamError, match="answer larger than 1,000 bytes"):
        await caller.call(post(upstream, limit_bytes=1000))


async def test_ten_megabytes_arrive_and_one_byte_more_does_not(caller, upstream):
    upstream.play(lambda wire: wire.json(b"x" * 10_000_000), lambda wire: wire.json(b"x" * 10_000_001))

    assert len((await caller.call(post(upstream))).body) == 10_000_000
    with pytest.raises(UpstreamError) as caught:
        await caller.call(post(upstream))
    assert caught.value.message == f"{upstream.url}/v1/x: answer larger than 10,000,000 bytes"


async def test_an_endless_reply_is_not_read_to_its_end(caller, upstream):
    async def endless(wire):
        await wire.head()
        while True:
            await wire.chunk(b"x" * 65536)

    upstream.play(endless)

    with pytest.raises(UpstreamError, match="answer larger than 1,000,000 bytes"):
        await caller.call(post(upstream, limit_bytes=1_000_000))


async def test_a_reply_that_ends_with_its_connection_is_whole(caller, upstream):
    async def old(wire):
        await wire.send(b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + b'{"ok":' + b" " * 70_000)
        await wire.send(b"1}")
        wire._writer.close()

    upstream.play(old)

    reply = await caller.call(post(upstream))

    assert (len(reply.body), reply.body[-2:]) == (70_008, b"1}")


async def test_a_reply_that_is_cut_off_is_an_error_that_asking_again_may_not_help(caller, upstream):
    async def cut(wire):
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        wire.cut()

    upstream.play(cut)

    with pytest.raises(UpstreamError, match="the answer was cut off after 1 bytes") as caught:
        await caller.call(post(upstream))
    assert caught.value.status == 200


async def test_a_connection_that_ends_before_the_reply_is_nobody_there(caller, upstream):
    async def close(wire):
        wire.cut()

    upstream.play(close)

    with pytest.raises(UnavailableError, match="no reply: ") as caught:
        await caller.call(post(upstream))
    assert not isinstance(caught.value, UpstreamError)


async def test_nobody_there_is_said_with_the_address_but_not_its_query(caller):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError) as caught:
            await caller.call(HttpCall("GET", f"{url}/a?q=secret", (), b"", 30.0))

    assert caught.value.message.startswith(f"{url}/a: nobody answers: ")
    assert "secret" not in str(caught.value)


async def test_giving_up_closes_the_connection(caller, upstream):
    async def never(_wire):
        await asyncio.Event().wait()

    upstream.play(never)
    calling = asyncio.ensure_future(caller.call(post(upstream)))
    await upstream.arrived.wait()
    calling.cancel()

    await upstream.heard[0].closed.wait()
    assert caller.client._pools
    assert not any(pool.idle for pool in caller.client._pools.values())


async def test_a_header_that_would_be_two_is_refused(caller, upstream):
    call = HttpCall("GET", upstream.url, (("x-a", "1\r\nx-b: 2"),), b"", 30.0)

    with pytest.raises(UsageError, match="line break"):
        await caller.call(call)
    assert upstream.heard == []
