"""Engines that spoil their own streams: what the client is told, and what the operator learns."""

from typing import Any

import orjson
import pytest
from tests.integration.gateway.conftest import KEY

pytestmark = pytest.mark.anyio

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": True}
DONE = b"data: [DONE]\n\n"


def event(text: str) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n"


def playing(*chunks: bytes) -> Any:
    async def play(wire: Any) -> None:
        await wire.head()
        for chunk in chunks:
            await wire.chunk(chunk)
        await wire.end()

    return play


BROKEN = [b'data: {"choices":[{"delta":{"con\n\n', event("x").replace(b'"x"', b'"\xe2\x82"')]


@pytest.mark.parametrize("spoiled", BROKEN, ids=["json", "utf-8"])
@pytest.mark.parametrize("before", [1, 3])
async def test_an_event_that_is_no_json_becomes_an_error_event_and_what_came_before_is_charged(bench, spoiled, before):
    bench.upstream.play(playing(*[event(f"a{number}") for number in range(before)], spoiled, event("b"), DONE))

    told = await bench.stream(ASK)

    *passed, last = [orjson.loads(part.removeprefix(b"data: ")) for part in told.split(b"\n\n") if part]
    assert [part["choices"][0]["delta"]["content"] for part in passed] == [f"a{number}" for number in range(before)]
    assert last["error"]["code"] == "upstream_invalid"
    (record,) = bench.sink.records
    assert (record.status, record.error_type, record.tokens_out) == (502, "upstream_invalid", before)
    assert "error" in record.events


async def test_a_stream_whose_first_event_is_no_json_is_a_plain_error(bench):
    bench.upstream.play(playing(BROKEN[0], DONE))

    status, body, _ = await bench.post("/v1/chat/completions", ASK)

    assert (status, body["error"]["code"]) == (502, "upstream_invalid")


async def test_the_operator_reads_what_the_engine_said_and_the_client_does_not(bench):
    said = {"message": "CUDA out of memory at 10.0.0.3, asked by bob@example.com", "type": "server_error"}
    bench.upstream.play(playing(event("a"), b"data: " + orjson.dumps({"error": said}) + b"\n\n", DONE))

    told = await bench.stream(ASK)

    assert b"upstream_cut" in told
    assert b"CUDA" not in told
    (note,) = [fields for name, fields in bench.notes if name == "engine_error"]
    (record,) = bench.sink.records
    assert note == {
        "request_id": record.id,
        "model": "tiny",
        "said": "CUDA out of memory at 10.0.0.3, asked by [email]",
    }


async def test_a_response_with_an_event_that_is_no_json_ends_in_an_error(bench):
    delta = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n'
    bench.upstream.play(playing(delta, delta.replace(b'"a"}', b'"a')))

    asked = {"model": "chat", "input": "hi", "stream": True}
    sent = {"authorization": f"Bearer {KEY}"}
    async with bench.client.post(bench.url + "/v1/responses", json=asked, headers=sent) as reply:
        told = await reply.read()

    assert told.count(b"response.output_text.delta\n") == 1
    assert b'"code":"upstream_invalid"' in told
