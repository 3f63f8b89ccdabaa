"""Services of the user's own behind the gateway."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.wires import OrderWire
from yarl import URL

from shipway.gateway.exchange import Exchange, Headers, RequestHead

AUTH = {"authorization": "Bearer swk_invoke"}


async def test_method_query_body_and_headers_go_through_with_the_release_on_top(bench):
    bench.upstream.play(lambda wire: wire.json({"ok": True}, 201, set_cookie="a=1", x_shipway_release="forged"))
    headers = {
        **AUTH,
        "x-shipway-conversation": "c1",
        "x-shipway-tenant": "forged",
        "x-own": "kept",
        "connection": "x-secret-hop",
        "x-secret-hop": "1",
    }
    async with bench.client.put(
        bench.url + "/svc/fixer/items/a%2Fb?q=1&q=2", data=b"\x00\x01", headers=headers
    ) as reply:
        assert (reply.status, await reply.json()) == (201, {"ok": True})
        assert reply.headers.getall("X-Shipway-Release") == ["rel_a"]
        assert reply.headers["Set-Cookie"] == "a=1"
    (heard,) = bench.upstream.heard
    assert (heard.method, heard.target, heard.body) == ("PUT", "/items/a%2Fb?q=1&q=2", b"\x00\x01")
    assert heard.headers["x-shipway-release"] == "rel_a"
    assert heard.headers["x-shipway-conversation"] == "c1"
    assert heard.headers["x-shipway-tenant"] == "acme"
    assert heard.headers["x-own"] == "kept"
    assert heard.headers["x-request-id"].startswith("req_")
    assert "authorization" not in heard.headers
    assert "x-secret-hop" not in heard.headers
    (record,) = bench.sink.records
    assert (record.status, record.route, record.conversation_source) == (201, "fixer", "header")


async def test_a_request_body_is_streamed_in_both_directions(bench):
    async def parts():
        for index in range(3):
            yield b"part%d" % index

    async def echo(wire: Any) -> None:
        await wire.head(kind="application/octet-stream")
        await wire.chunk(wire.heard.body)
        await wire.end()

    bench.upstream.play(echo)
    async with bench.client.post(bench.url + "/svc/fixer/", data=parts(), headers=AUTH) as reply:
        assert await reply.read() == b"part0part1part2"
    assert bench.upstream.heard[0].headers["transfer-encoding"] == "chunked"


async def test_each_chunk_of_a_reply_arrives_before_the_service_sends_the_next(bench):
    seen = asyncio.Event()

    async def wait_for_the_reader(wire: Any) -> None:
        await wire.head()
        await wire.chunk(b"one")
        await seen.wait()
        await wire.chunk(b"two")
        await wire.end()

    bench.upstream.play(wait_for_the_reader)
    async with bench.client.get(bench.url + "/svc/fixer/events", headers=AUTH) as reply:
        assert await asyncio.wait_for(reply.content.readany(), 5) == b"one"
        seen.set()
        assert await reply.content.read() == b"two"


async def test_a_service_that_breaks_off_breaks_the_clients_reply_too(bench):
    async def cut(wire: Any) -> None:
        await wire.head()
        await wire.chunk(b"one")
        wire.cut()

    bench.upstream.play(cut)
    async with bench.client.get(bench.url + "/svc/fixer/", headers=AUTH) as reply:
        with pytest.raises(Exception, match=r"(?i)payload|closed"):
            await reply.read()
    assert bench.sink.records[0].status == 502
    assert "error" in bench.sink.records[0].events


async def test_a_client_that_leaves_cancels_the_service_call(bench):
    async def hang(wire: Any) -> None:
        await wire.heard.closed.wait()

    bench.upstream.play(hang)
    call = asyncio.ensure_future(bench.get("/svc/fixer/slow"))
    await asyncio.wait_for(bench.upstream.arrived.wait(), 5)
    call.cancel()
    await asyncio.wait_for(bench.upstream.heard[0].closed.wait(), 5)


@pytest.mark.parametrize("path", ["/svc/fixer/a/%2e%2e/b", "/svc/fixer/%252e%252e/b", "/svc/fixer/..%2fb"])
async def test_a_path_that_climbs_is_refused(bench, path):

    async with bench.client.get(URL(bench.url + path, encoded=True), headers=AUTH) as reply:
        assert reply.status == 400
    assert bench.upstream.heard == []


async def test_a_route_of_another_kind_and_one_without_a_process_are_told_apart(bench):
    assert (await bench.get("/svc/chat/x"))[0] == 400
    assert (await bench.get("/svc/nope/x"))[0] == 404
    routes = tuple(type(route)(route=route.route, stable=route.stable) for route in bench.snapshot().routes)
    bench.apply(bench.snapshot(version=2, routes=routes))
    assert (await bench.get("/svc/fixer/x"))[0] == 503


async def test_a_5xx_of_the_service_is_passed_on_and_counted_against_its_release(bench):
    bench.upstream.play(lambda wire: wire.json({"mine": 1}, 500))
    assert await bench.get("/svc/fixer/x") == (500, {"mine": 1})
    assert bench.sink.records[0].events == ("error",)


async def test_the_record_is_written_before_the_byte_that_completes_a_reply_of_known_length(bench):
    bench.upstream.play(lambda wire: wire.json({"ok": True}))
    order: list[Any] = []
    bench.sink.on_append = lambda _record: order.append("record")
    headers = Headers([(b"authorization", b"Bearer swk_invoke")])
    exchange = Exchange(RequestHead("GET", b"/svc/fixer/x", headers), OrderWire(order))
    exchange.end_of_body()
    await bench.gateway.serve(exchange)
    assert order == ["record", b'{"ok":true}']


async def classified(bench: Any) -> tuple[int, dict[str, str]]:
    async with bench.client.post(bench.url + "/svc/fixer/x", data=b"1", headers=AUTH) as reply:
        return reply.status, dict(reply.headers)


async def test_requests_that_a_resting_service_is_spared_are_recorded_as_that(run_gateway, quick):
    async with run_gateway(replace(quick, breaker_failures=2)) as bench:
        await bench.upstream.stop()
        statuses = [(await classified(bench))[0] for _ in range(3)]
        status, headers = await classified(bench)
        await bench.upstream.start()
    assert [*statuses, status] == [503] * 4
    assert headers["Retry-After"] == "1"
    errors = [record.error_type for record in bench.sink.records]
    assert errors == ["engine_unreachable"] * 2 + ["engine_resting"] * 2


async def test_a_service_whose_process_died_serves_soon_after_it_is_back(run_gateway, quick):
    settings = replace(quick, breaker_failures=2, breaker_first_s=0.05, breaker_open_s=60.0)
    async with run_gateway(settings) as bench:
        dying = asyncio.Event()

        async def die(wire: Any) -> None:
            await dying.wait()
            wire.cut()

        bench.upstream.play(die)
        asked = [asyncio.create_task(classified(bench)) for _ in range(2)]
        while len(bench.upstream.heard) < len(asked):
            await asyncio.sleep(0)
        dying.set()
        assert [(await task)[0] for task in asked] == [502, 502]
        assert (await classified(bench))[0] == 503
        port = URL(bench.upstream.url).port
        await bench.upstream.stop()
        bench.upstream.play(lambda wire: wire.json({"ok": True}))
        await bench.upstream.start(port)
        async with asyncio.timeout(10.0):
            while (await classified(bench))[0] == 503:
                await asyncio.sleep(0.01)
        assert (await classified(bench))[0] == 200


async def raw_posts(bench: Any, path: str) -> list[bytes]:
    """Send two requests on one connection, the body of the first one behind its head; returns what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(bench.url).port)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer swk_invoke\r\ncontent-length: 2\r\n\r\n".encode()
    got = []
    writer.write(head)
    await asyncio.sleep(0)
    writer.write(b"{}")
    for again in (True, False):
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        size = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(size)
        got.append(answer)
        if b"connection: close" in answer.lower():
            break
        if again:
            writer.write(head + b"{}")
    writer.close()
    return got


async def test_a_refusal_before_the_body_came_keeps_the_connection_or_says_that_it_ends(bench):
    # Python's own client sends head and body apart. `nope` is refused before the body is looked at.
    got = await raw_posts(bench, "/svc/nope/x")
    assert [answer.split(b" ")[1] for answer in got] == [b"404", b"404"]


async def test_a_refusal_whose_body_never_came_says_that_the_connection_ends(bench):
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(bench.url).port)
    writer.write(
        b"POST /svc/nope/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer swk_invoke\r\ncontent-length: 9\r\n\r\n"
    )
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"connection: close" in answer.lower()
    writer.close()
