"""The proxy before an engine: it changes nothing until it is told to."""

import asyncio
import json
import random

import pytest

from shipway.adapters.chaos_faults.proxy import FaultProxy
from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.gateway.ports import EngineBrokenError, EngineConnectError, EngineRequest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def engine():
    """An engine that says what it heard, in two pieces; yields its address and what it heard."""
    heard = []

    async def connected(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2]).get(b"content-length", 0))
        heard.append((head.split(b"\r\n")[0].decode(), await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nfir\r\n")
        await writer.drain()
        writer.write(b"2\r\nst\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", heard
    server.close()


@pytest.fixture
async def proxy(engine):
    made = FaultProxy(engine[0], random.Random(1))
    made.address = await made.start()
    yield made
    await made.stop()


async def asked(url, method="POST", body=b'{"a": 1}'):
    client = HttptoolsEngineClient()
    try:
        response = await client.send(EngineRequest(method, url, (), body, 5.0))
        return response.status, await response.whole(10_000)
    finally:
        await client.close()


async def test_a_request_and_its_answer_pass_unchanged(proxy, engine):
    assert proxy.address.endswith("/v1")
    assert await asked(f"{proxy.address}/chat/completions") == (200, b"first")
    assert engine[1] == [("POST /v1/chat/completions HTTP/1.1", b'{"a": 1}')]


async def test_questions_fail_when_told_to_and_pass_again_when_mended(proxy, engine):
    proxy.break_it(fails=True, delay_s=0.0, share=1.0)
    status, body = await asked(proxy.address)
    proxy.mend()

    assert (status, json.loads(body)["error"]["message"]) == (500, "injected fault")
    assert engine[1] == []
    assert (await asked(proxy.address))[0] == 200


async def test_health_checks_pass_meanwhile(proxy):
    proxy.break_it(fails=True, delay_s=0.0, share=1.0)

    assert (await asked(f"{proxy.address}/health", "GET", b""))[0] == 200


async def test_only_a_share_fails(proxy):
    proxy.break_it(fails=True, delay_s=0.0, share=0.5)

    statuses = [(await asked(proxy.address))[0] for _ in range(40)]

    assert 5 < statuses.count(500) < 35


async def test_a_slow_engine_answers_after_the_delay_and_not_before(proxy, engine):
    proxy.break_it(fails=False, delay_s=0.2, share=1.0)
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    assert await asked(proxy.address) == (200, b"first")

    assert loop.time() - began_s >= 0.2


async def test_a_proxy_that_is_stopped_listens_no_more(proxy):
    await proxy.stop()

    with pytest.raises(EngineConnectError):
        await asked(proxy.address)


async def test_stopping_cuts_what_hangs(proxy):
    proxy.break_it(fails=False, delay_s=3600.0, share=1.0)
    waiting = asyncio.ensure_future(asked(proxy.address))
    while not proxy._open:
        await asyncio.sleep(0)

    await proxy.stop()

    with pytest.raises(EngineBrokenError):
        await waiting
