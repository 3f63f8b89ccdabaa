"""Listening, draining and stopping."""

import asyncio
import signal
import socket
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from shipway.core.errors import ConflictError
from shipway.entrypoints.dataplane.server import bind

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
REPLY = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def test_a_port_in_use_names_the_port_and_what_to_do():
    taken = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(ConflictError, match=str(port)) as caught:
        bind("127.0.0.1", port)
    assert "choose another port" in caught.value.hint
    taken.close()


def test_accepted_connections_send_small_chunks_at_once():
    listener = bind("127.0.0.1", 0)
    with socket.create_connection(listener.getsockname()), listener:
        accepted, _ = listener.accept()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()


async def test_a_stop_lets_running_requests_end_and_takes_no_new_ones(bench):
    release = asyncio.Event()

    async def wait_then_reply(wire):
        await release.wait()
        await wire.json(REPLY)

    bench.upstream.play(wait_then_reply)
    running = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
    await asyncio.wait_for(bench.upstream.arrived.wait(), 5)
    bench.stop.set()
    while await _accepts(bench.url):
        await asyncio.sleep(0.005)
    assert bench.serving.draining
    assert not bench.served.done()
    release.set()
    assert (await running)[0] == 200
    await asyncio.wait_for(asyncio.shield(bench.served), 10)
    assert len(bench.sink.records) == 1


async def test_what_the_drain_cuts_is_recorded_before_the_server_returns(run_gateway, quick):
    async def hang(wire):
        await wire.heard.closed.wait()

    async with run_gateway(quick, drain_s=1.0) as bench:
        bench.upstream.play(hang)
        running = asyncio.ensure_future(bench.post("/v1/chat/completions", ASK))
        await asyncio.wait_for(bench.upstream.arrived.wait(), 5)
        bench.stop.set()
        await asyncio.shield(bench.served)
        (record,) = bench.sink.records
        assert (record.status, record.error_type) == (503, "stopped")
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("short_way", [True, False])
async def test_a_stream_that_began_before_the_stop_and_promised_its_connection_leaves_it_open(
    run_gateway, quick, short_way
):
    body = orjson.dumps({**ASK, "stream": True})
    began, release = asyncio.Event(), asyncio.Event()

    async def half_then_rest(wire):
        await wire.head()
        await wire.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
        if began.is_set():
            await release.wait()
        began.set()
        await wire.chunk(b"data: [DONE]\n\n")
        await wire.end()

    async with run_gateway(quick, drain_s=5.0, idle_grace_s=1.0, short_way=short_way) as bench:
        bench.upstream.play(half_then_rest)
        where = urlsplit(bench.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        ask = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer swk_invoke\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        ) + body
        writer.write(ask)
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(ask)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection: close" not in head
        await reader.readuntil(b'"a"')
        bench.stop.set()
        while await _accepts(bench.url):
            await asyncio.sleep(0.005)
        release.set()
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.write(ask)
        again = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert again.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in again
        assert (await asyncio.wait_for(reader.read(), 5)).endswith(b"\r\n0\r\n\r\n")
        writer.close()


async def test_a_body_that_does_not_arrive_is_a_408(run_gateway, quick):
    async def never_ends():
        yield b"{"
        await asyncio.Event().wait()

    async with run_gateway(replace(quick, deadline_s=0.05)) as bench:
        headers = {"authorization": "Bearer swk_invoke", "content-type": "application/json"}
        async with bench.client.post(bench.url + "/generate", data=never_ends(), headers=headers) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (408, "body_timeout")


async def test_sigterm_flushes_and_ends_the_process_with_status_0(tmp_path: Path):
    marker = tmp_path / "flushed"
    program = textwrap.dedent(
        """
        import asyncio, pathlib, sys
        from shipway.entrypoints.dataplane.server import run, serve

        class App:
            def drain(self, **_): pass
            async def __call__(self, scope, receive, send): pass

        async def flush():
            pathlib.Path(sys.argv[1]).write_text("flushed")

        async def beside():
            print("ready", flush=True)
            await asyncio.Event().wait()

        run(serve(App(), "127.0.0.1", 0, beside=[beside], flush=flush))
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(marker), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == 0
    assert marker.read_text() == "flushed"


async def _accepts(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_a_connection_too_many_is_told_so_in_the_shape_of_the_api_and_closed(run_gateway, quick):
    async with run_gateway(quick, max_connections=1) as bench:
        assert (await bench.get("/health", key=None))[0] == 200  # the client keeps this connection
        reader, writer = await asyncio.open_connection(*urlsplit(bench.url).netloc.split(":"))
        body = orjson.dumps(ASK)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        head, _, raw = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
        lines = head.lower().split(b"\r\n")
        assert lines[0].startswith(b"http/1.1 503")
        assert {b"content-type: application/json", b"retry-after: 1", b"connection: close"} <= set(lines)
        error = orjson.loads(raw[raw.index(b"{") : raw.rindex(b"}") + 1])["error"]
        assert (error["type"], error["code"]) == ("unavailable_error", "overloaded")
        assert (await bench.get("/health", key=None))[0] == 200
        assert bench.logged[-1].status == 503
        assert bench.sink.records == []
