"""What a client may send, byte by byte: the server answers 4xx or serves, never both, and never falls over."""

import asyncio
import contextlib
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.anyio

BODY = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}]})
KEY = b"authorization: Bearer swk_invoke\r\n"
LAST = b"connection: close\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + KEY
HEAD = POST + LAST
WHOLE = POST + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
REPLY = {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


async def told(url: str, *pieces: bytes, wait_s: float = 5.0, hang_up: bool = True) -> bytes:
    """Send bytes and return everything that comes back until the server closes."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if hang_up:
            writer.write_eof()
        async with asyncio.timeout(wait_s):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def statuses(raw: bytes) -> list[int]:
    found, rest = [], raw
    while rest.startswith(b"HTTP/1.1 "):
        head, _, body = rest.partition(b"\r\n\r\n")
        found.append(int(head[9:12]))
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        rest = body[int(fields[b"content-length"]) :]
    return found


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /health HTTP/9.9\r\nhost: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nna me: v\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcde", 400),
        (HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"content-length: -1\r\n\r\n", 400),
        (HEAD + b"content-length: 99999999999999999999999\r\n\r\n", 400),
        (HEAD + b"content-length: 104857600\r\n\r\n", 413),
        (HEAD + b"content-length: 4\r\n\r\n\xff\xfe{}", 400),
        (HEAD + b"content-length: 40000\r\n\r\n" + b"[" * 40_000, 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + LAST + KEY + KEY + b"\r\n", 400),
        (b"GET /v1/../metrics HTTP/1.1\r\nhost: x\r\n" + KEY + LAST + b"\r\n", 404),
        (b"GET //metrics HTTP/1.1\r\nhost: x\r\n" + KEY + LAST + b"\r\n", 404),
        (b"GET /%2e%2e/metrics HTTP/1.1\r\nhost: x\r\n" + KEY + LAST + b"\r\n", 404),
        (b"GET /metrics%00 HTTP/1.1\r\nhost: x\r\n" + KEY + LAST + b"\r\n", 404),
        (b"GET http://x/health HTTP/1.1\r\nhost: x\r\n" + LAST + b"\r\n", 200),
        (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: h2c\r\n\r\n", 200),
    ],
)
async def test_each_trick_gets_its_answer_in_the_shape_of_the_api(bench, raw, status):
    answer = await told(bench.url, raw, hang_up=False)
    assert answer[:12] == b"HTTP/1.1 %d" % status
    if status >= 400:
        error = orjson.loads(answer.partition(b"\r\n\r\n")[2])
        assert error["error"]["message"]
        assert error["request_id"]
        assert bench.logged[-1].status == status
    assert (await bench.get("/health", key=None))[0] == 200


async def test_requests_in_one_packet_are_answered_in_order(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    health = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + KEY + b"\r\n"
    assert statuses(await told(bench.url, health + WHOLE + health + last, hang_up=False)) == [200, 200, 200, 404]


async def test_a_request_that_offers_http2_is_answered_as_if_it_did_not(bench):
    """Java's HTTP client sends its first request so."""
    bench.upstream.play(lambda wire: wire.json(REPLY))
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    offered = POST + offer + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
    last = b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + KEY + b"\r\n"

    answers = await told(bench.url, offered, WHOLE + offered, last, hang_up=False)

    assert statuses(answers) == [200, 200, 200, 404]
    assert b"101 Switching" not in answers
    assert len(bench.sink.records) == 3


async def test_many_requests_in_one_packet_are_all_answered(bench):
    health = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert statuses(await told(bench.url, health * 60 + last, hang_up=False)) == [200] * 61


async def test_an_old_client_gets_an_old_reply(bench):
    answer = await told(bench.url, b"GET /health HTTP/1.0\r\n\r\n", hang_up=False)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding" not in answer.lower()


async def test_expect_100_continue_is_told_to_go_on(bench):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    head = HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY)
    answer = await told(bench.url, head, BODY, hang_up=False)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_a_head_that_never_ends_is_a_408(run_gateway, quick):
    async with run_gateway(quick, head_s=0.05) as bench:
        answer = await told(bench.url, b"GET /health HTTP/1.1\r\nhost: x\r\nx: y", hang_up=False)
        assert answer.startswith(b"HTTP/1.1 408")


async def test_a_connection_that_asks_nothing_is_closed(run_gateway, quick):
    async with run_gateway(quick, keep_alive_s=0.05) as bench:
        assert await told(bench.url, hang_up=False) == b""


@given(st.lists(st.integers(min_value=1, max_value=len(WHOLE) - 1), max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_request_is_the_same_wherever_the_network_cuts_it(bench, cuts):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    raw = WHOLE.replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n")
    places = sorted(set(cuts))
    pieces = [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]
    assert statuses(await told(bench.url, *pieces, hang_up=False)) == [200]


@given(
    st.lists(
        st.tuples(st.integers(min_value=0, max_value=len(WHOLE) - 1), st.binary(max_size=3)), min_size=1, max_size=5
    )
)
@example([(0, b"\r\n")])
@example([(len(WHOLE) - 1, b"\r\n\r\n")])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_damaged_request_breaks_the_server(bench, damages):
    bench.upstream.play(lambda wire: wire.json(REPLY))
    data = bytearray(WHOLE)
    for place, there in damages:
        data[place : place + 1] = there
    answer = await told(bench.url, bytes(data))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert (await bench.get("/health", key=None))[0] == 200
    assert not [note for note, _ in bench.notes if note == "request_failed"]
