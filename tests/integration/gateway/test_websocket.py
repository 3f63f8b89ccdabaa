"""WebSockets on real sockets: the same keys, limits, records and errors as over HTTP."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

KEY = "swk_invoke"
PATH = "/v1/chat/completions/ws"
MESSAGE = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


def delta(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'


async def spoken(wire):
    await wire.head()
    await wire.chunk(delta("a") + delta("b"))
    await wire.chunk(USAGE + b"data: [DONE]\n\n")
    await wire.end()


async def endless(wire):
    await wire.head()
    await wire.chunk(delta("a"))
    await wire.heard.closed.wait()


@asynccontextmanager
async def opened(bench, path: str = PATH, key: str | None = KEY, **options: Any):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with bench.client.ws_connect(bench.url + path, headers=headers, **options) as ws:
        yield ws


async def reply(ws: aiohttp.ClientWebSocketResponse) -> list[Any]:
    found = []
    async with asyncio.timeout(5):
        while True:
            found.append(await ws.receive_json())
            if found[-1].get("type") in {"done", "cancelled"} or "error" in found[-1]:
                return found


async def test_a_conversation_of_two_requests_is_served_and_recorded(bench):
    bench.upstream.play(spoken)
    async with opened(bench) as ws:
        for _ in range(2):
            await ws.send_json(MESSAGE)
            said = await reply(ws)
            assert [item["choices"][0]["delta"]["content"] for item in said[:-1]] == ["a", "b"]
            assert said[-1]["type"] == "done"
            assert said[-1]["request_id"] == bench.sink.records[-1].id
            assert (said[-1]["route"], said[-1]["release"]) == ("chat", "rel_a")

    assert [(r.status, r.tokens_in, r.tokens_out, r.stream) for r in bench.sink.records] == [(200, 9, 2, True)] * 2
    assert bench.upstream.heard[0].json()["stream_options"] == {"include_usage": True}


async def test_usage_comes_when_it_is_asked_for(bench):
    bench.upstream.play(spoken)
    async with opened(bench) as ws:
        await ws.send_json({**MESSAGE, "stream_options": {"include_usage": True}})
        said = await reply(ws)

    assert said[-2]["usage"]["prompt_tokens"] == 9


async def test_a_wrong_request_is_told_so_and_the_next_is_served(bench):
    bench.upstream.play(spoken)
    async with opened(bench) as ws:
        for wrong, param in (({"model": "chat"}, "messages"), ({**MESSAGE, "model": "nope"}, "model")):
            await ws.send_json(wrong)
            told = (await reply(ws))[-1]
            assert (told["error"]["param"], told["status"]) == (param, 400 if param == "messages" else 404)
            assert told["request_id"].startswith("req_")
        await ws.send_str('{"model":"chat","model":"chat"}')
        assert (await reply(ws))[-1]["error"]["code"] == "duplicate_key"
        await ws.send_json(MESSAGE)
        assert (await reply(ws))[-1]["type"] == "done"


async def test_an_engines_cut_is_an_error_message(bench):
    async def cut(wire):
        await wire.head()
        await wire.chunk(delta("a"))
        wire.cut()

    bench.upstream.play(cut)
    async with opened(bench) as ws:
        await ws.send_json(MESSAGE)
        said = await reply(ws)

    assert said[-1]["error"]["code"] == "upstream_cut"
    assert bench.sink.records[-1].status == 502


async def test_cancelling_stops_the_engine_and_keeps_the_socket(bench):
    bench.upstream.play(endless, spoken)
    async with opened(bench) as ws:
        await ws.send_json(MESSAGE)
        await ws.receive_json()
        await ws.send_json({"type": "cancel"})
        assert (await reply(ws))[-1]["type"] == "cancelled"
        async with asyncio.timeout(10):
            await bench.upstream.heard[0].closed.wait()
        await ws.send_json(MESSAGE)
        assert (await reply(ws))[-1]["type"] == "done"

    assert [(r.status, r.error_type) for r in bench.sink.records] == [(499, "client_gone"), (200, "")]


async def test_closing_stops_the_engine(bench):
    bench.upstream.play(endless)
    async with opened(bench) as ws:
        await ws.send_json(MESSAGE)
        await ws.receive_json()
    async with asyncio.timeout(10):
        await bench.upstream.heard[0].closed.wait()

    assert bench.sink.records[-1].status == 499


async def test_responses_are_spoken_over_a_socket_too(bench):
    done = {"type": "response.completed", "response": {"usage": {"input_tokens": 3, "output_tokens": 1}}}

    async def responded(wire):
        await wire.head()
        await wire.chunk(b'event: response.created\ndata: {"type":"response.created"}\n\n')
        await wire.chunk(b"event: response.completed\ndata: " + json.dumps(done).encode() + b"\n\n")
        await wire.end()

    bench.upstream.play(responded)
    async with opened(bench, "/v1/responses/ws") as ws:
        await ws.send_json({"model": "chat", "input": "hi"})
        said = await reply(ws)

    assert [item["type"] for item in said] == ["response.created", "response.completed", "done"]
    assert bench.upstream.heard[0].target == "/v1/responses"


async def test_a_browsers_key_comes_as_a_protocol_and_is_not_sent_back(bench):
    bench.upstream.play(spoken)
    async with opened(bench, key=None, protocols=("shipway", f"openai-insecure-api-key.{KEY}")) as ws:
        assert ws.protocol == "shipway"
        await ws.send_json(MESSAGE)
        assert (await reply(ws))[-1]["type"] == "done"


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        (PATH, None, 401),
        (PATH, "swk_wrong", 401),
        (PATH, "swk_expired", 401),
        ("/v1/embeddings/ws", KEY, 404),
        ("/v1/chat/completions", KEY, 405),
    ],
)
async def test_a_socket_that_may_not_open_gets_a_usual_reply(bench, path, key, status):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with opened(bench, path, key):
            pass

    assert caught.value.status == status


async def test_a_plain_get_is_told_to_open_a_socket(bench):
    status, told = await bench.get(PATH)

    assert (status, told["error"]["code"]) == (426, "upgrade_required")


async def test_a_key_that_expires_while_the_socket_is_open_serves_no_longer(bench):
    bench.upstream.play(spoken)
    async with opened(bench) as ws:
        bench.apply(bench.snapshot(keys=(), version=2))
        await ws.send_json(MESSAGE)
        assert (await reply(ws))[-1]["status"] == 401


async def test_a_message_beyond_the_limit_closes_the_socket(run_gateway, quick):
    async with run_gateway() as bench, opened(bench) as ws:
        await ws.send_str("x" * (quick.max_body_bytes + 1))
        message = await ws.receive(timeout=5)

        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == 1009


async def test_a_frame_that_comes_with_the_opening_is_not_lost(bench):
    bench.upstream.play(spoken)
    port = int(bench.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"GET {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\nupgrade: websocket\r\n"
        "connection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    # A masked ping without a payload.
    writer.write(head.encode() + b"\x89\x80\x00\x00\x00\x00")
    async with asyncio.timeout(5):
        told = await reader.readuntil(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in told
        assert await reader.readexactly(2) == b"\x8a\x00"
    writer.close()


async def test_a_server_that_stops_closes_idle_sockets_with_a_word(bench):
    async with opened(bench) as ws:
        bench.stop.set()
        message = await ws.receive(timeout=5)

    assert message.data == 1001
    async with asyncio.timeout(5):
        await bench.served


async def test_a_reader_that_stalls_does_not_make_the_gateway_hold_its_answer(bench):
    piece = delta("x" * 60_000)
    sent = 0

    async def flood(wire):
        nonlocal sent
        await wire.head()
        while not wire.heard.closed.is_set():
            await wire.chunk(piece)
            sent += len(piece)

    bench.upstream.play(flood)
    async with opened(bench) as ws:
        transport = ws._response.connection.transport
        transport.pause_reading()
        await ws.send_json(MESSAGE)
        before = -1
        async with asyncio.timeout(10):
            while sent != before:
                before = sent
                await asyncio.sleep(0.2)
        assert 0 < sent < 16_000_000
        transport.abort()
