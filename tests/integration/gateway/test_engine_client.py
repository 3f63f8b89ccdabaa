"""The client of engines on real sockets."""

import asyncio
import socket

import pytest
from tests.integration.gateway.conftest import Upstream

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.core.errors import UsageError
from shipway.gateway.ports import (
    EngineAbsentError,
    EngineBrokenError,
    EngineConnectError,
    EngineLostError,
    EngineRequest,
)

pytestmark = pytest.mark.anyio

BODY = b'{"model": "m"}'


@pytest.fixture
async def upstream():
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client():
    made = HttptoolsEngineClient()
    yield made
    await made.close()


def post(upstream, path="/v1/chat/completions", body=BODY, **options):
    return EngineRequest("POST", upstream.url + path, (("content-type", "application/json"),), body, **options)


async def whole(response):
    return b"".join([data async for data in response.chunks()])


async def replied(client, request):
    response = await client.send(request)
    try:
        return response.status, await whole(response)
    finally:
        response.close()


async def test_a_reply_arrives_with_status_headers_and_body(client, upstream):
    upstream.play(lambda wire: wire.json({"ok": True}, 201, x_seen="One", x_other="2"))
    response = await client.send(post(upstream, "/v1/a%2Fb?x=%20y&x=z"))
    assert response.status == 201
    assert ("x-seen", "One") in response.headers
    assert await whole(response) == b'{"ok":true}'
    response.close()
    (heard,) = upstream.heard
    assert (heard.method, heard.target, heard.body) == ("POST", "/v1/a%2Fb?x=%20y&x=z", BODY)
    assert heard.headers["host"] == upstream.url.removeprefix("http://")
    assert heard.headers["content-type"] == "application/json"


async def test_one_connection_serves_request_after_request(client, upstream):
    upstream.play(lambda wire: wire.json({}))
    for _ in range(5):
        assert await replied(client, post(upstream)) == (200, b"{}")
    assert upstream.connections == 1


async def test_requests_at_the_same_time_have_connections_of_their_own(client, upstream):
    both = asyncio.Barrier(2)

    async def together(wire):
        async with both:
            await wire.json(wire.heard.json())

    upstream.play(together)
    answers = await asyncio.gather(*(replied(client, post(upstream, body=b'{"n":%d}' % n)) for n in range(2)))
    assert [body for _, body in answers] == [b'{"n":0}', b'{"n":1}']
    assert upstream.connections == 2


async def test_a_connection_that_the_engine_closed_while_idle_is_not_used(client, upstream):
    async def once(wire):
        await wire.json({})
        wire.cut()

    upstream.play(once, lambda wire: wire.json({"again": 1}))
    assert (await replied(client, post(upstream)))[0] == 200
    await asyncio.sleep(0.05)
    assert await replied(client, post(upstream)) == (200, b'{"again":1}')


async def test_nobody_listening_is_a_connect_error(client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(EngineAbsentError):
            await client.send(EngineRequest("POST", url, (), BODY))


async def test_a_name_that_nobody_knows_is_not_a_process_that_is_gone(client, monkeypatch):
    async def unknown(*_args, **_named):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(EngineConnectError) as caught:
        await client.send(EngineRequest("POST", "http://engine.invalid/v1", (), BODY))
    assert not isinstance(caught.value, EngineAbsentError)


async def test_a_connection_that_ends_before_the_head_is_broken(client, upstream):
    async def cut(wire):
        wire.cut()

    upstream.play(cut)
    with pytest.raises(EngineLostError):
        await client.send(post(upstream))


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot-hex\r\n",
    ],
)
async def test_a_body_that_is_cut_or_garbled_is_broken(client, upstream, raw):
    async def script(wire):
        await wire.send(raw)
        await asyncio.sleep(0.02)
        wire.cut()

    upstream.play(script)
    with pytest.raises(EngineBrokenError):
        await replied(client, post(upstream))


async def test_a_body_without_a_length_ends_with_the_connection(client, upstream):
    async def script(wire):
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await asyncio.sleep(0.02)
        wire.cut()

    upstream.play(script)
    assert await replied(client, post(upstream)) == (200, b"all of it")


async def test_a_streamed_body_arrives_whole(client, upstream):
    async def body():
        for _ in range(64):
            yield b"x" * 8192

    upstream.play(lambda wire: wire.json({"bytes": len(wire.heard.body)}))
    assert await replied(client, post(upstream, body=body())) == (200, b'{"bytes":524288}')


async def test_a_streamed_body_of_known_length_is_not_cut_into_chunks(client, upstream):
    async def body():
        yield b"\x00"
        yield b"\x01"

    upstream.play(lambda wire: wire.json({"ok": True}))
    sent = EngineRequest("PUT", upstream.url + "/x", (("content-length", "2"),), body())
    assert (await replied(client, sent))[0] == 200
    assert upstream.heard[0].body == b"\x00\x01"
    assert "transfer-encoding" not in upstream.heard[0].headers


@pytest.mark.parametrize("promised", ["1", "3"])
async def test_a_body_that_is_not_as_long_as_promised_breaks_the_connection(client, upstream, promised):
    async def body():
        yield b"xx"

    upstream.play(lambda wire: wire.heard.closed.wait())
    with pytest.raises(EngineBrokenError, match="its head said"):
        await client.send(EngineRequest("PUT", upstream.url + "/x", (("content-length", promised),), body()))


async def test_cancelling_before_the_head_closes_the_connection(client, upstream):
    async def silent(wire):
        await wire.heard.closed.wait()

    upstream.play(silent)
    sending = asyncio.ensure_future(client.send(post(upstream)))
    await upstream.arrived.wait()
    sending.cancel()
    await asyncio.wait([sending])
    async with asyncio.timeout(10):
        await upstream.heard[0].closed.wait()


async def test_closing_in_the_middle_of_a_body_cuts_the_connection(client, upstream):
    async def endless(wire):
        await wire.head()
        while not wire.heard.closed.is_set():
            await wire.chunk(b"data: 1\n\n")
            await asyncio.sleep(0.001)

    upstream.play(endless)
    response = await client.send(post(upstream))
    async for _ in response.chunks():
        break
    response.close()
    async with asyncio.timeout(10):
        await upstream.heard[0].closed.wait()


async def test_a_reader_that_stops_makes_the_engine_wait(client, upstream):
    sent = 0

    async def flood(wire):
        nonlocal sent
        await wire.head()
        for _ in range(1000):
            await wire.chunk(b"x" * 65536)
            sent += 65536

    upstream.play(flood)
    response = await client.send(post(upstream))
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.05)
    # What lies in the kernel's buffers and ours is a few megabytes; the whole would be 65.
    assert sent < 20_000_000
    response.close()


async def test_head_and_no_content_have_no_body(client, upstream):
    async def bare(wire):
        await wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    upstream.play(lambda wire: wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n"), bare)
    response = await client.send(EngineRequest("HEAD", upstream.url + "/x"))
    assert (response.status, await whole(response)) == (200, b"")
    response.close()
    assert await replied(client, post(upstream)) == (204, b"")


async def test_an_early_hint_is_not_the_reply(client, upstream):
    async def hinted(wire):
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        await wire.json({"final": True})

    upstream.play(hinted)
    assert await replied(client, post(upstream)) == (200, b'{"final":true}')


async def test_a_header_with_a_line_break_never_reaches_the_engine(client, upstream):
    request = EngineRequest("POST", upstream.url + "/v1", (("x-name", "a\r\nx-injected: b"),), BODY)
    with pytest.raises(UsageError, match="line break"):
        await client.send(request)
    assert upstream.connections == 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "http:///x", "http://127.0.0.1/a b", "http://127.0.0.1/\r\nx"])
async def test_an_address_that_is_none_is_refused(client, url):
    with pytest.raises(UsageError):
        await client.send(EngineRequest("GET", url))
