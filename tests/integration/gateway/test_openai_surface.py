"""What passes through the gateway unchanged, what the engine is asked, and the shapes of other engines."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from shipway.gateway.response_names import ResponseNames
from shipway.gateway.serving import LoadedRelease

MESSAGES = [{"role": "user", "content": "hi"}]
REPLY = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}}]}


def answering(value, **headers):
    async def script(wire):
        await wire.json(value, **headers)

    return script


def streaming(*chunks, cut=False):
    async def script(wire):
        await wire.head()
        for chunk in chunks:
            await wire.chunk(chunk)
        if cut:
            wire.cut()
        else:
            await wire.end()

    return script


def event(kind, **fields):
    return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


async def read(bench, path, value):
    headers = {"authorization": "Bearer swk_invoke"}
    async with bench.client.post(bench.url + path, json=value, headers=headers) as reply:
        return reply.status, await reply.read()


def changed(bench, **fields):
    """Serve the chat route with other fields from now on."""
    snapshot = bench.snapshot(version=2)
    runtime = bench.serving.current.releases["rel_a"].runtime
    routes = {**runtime.routes, "chat": replace(runtime.routes["chat"], **fields)}
    runtime.routes = routes
    bench.serving.apply(snapshot, {"rel_a": LoadedRelease("rel_a", runtime)}, silent=False)


async def test_fields_that_the_gateway_does_not_read_pass_as_they_were_written(bench):
    given = {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": 'naïve \u2028 \U0001f600 \\ " é'},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                ],
                "name": "ann",
            }
        ],
        "tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {}}},
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"50256": -100},
        "n": 2,
        "stop": ["a", "b"],
        "user": "u-1",
        "seed": 2**62,
        "top_k": 40,
        "min_p": 0.05,
        "vllm_xargs": {"deep": [1.0, 1e-7, -0.0, 12345678901234567890]},
        "reasoning_effort": "low",
        "service_tier": "auto",
    }
    bench.upstream.play(answering(REPLY))
    status, _, _ = await bench.post("/v1/chat/completions", {"model": "chat", **given})

    assert status == 200
    heard = bench.upstream.heard[0].json()
    assert {name: heard[name] for name in given if name != "messages"} == {
        name: value for name, value in given.items() if name != "messages"
    }
    assert heard["messages"][1:] == given["messages"]


async def test_a_rerank_goes_to_the_engine_with_nothing_of_the_decoding(bench):
    told = {"id": "rerank-1", "results": [{"index": 1, "relevance_score": 0.9}], "usage": {"total_tokens": 56}}
    bench.upstream.play(answering(told))
    asked = {"model": "chat", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True}
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        status, reply, _ = await bench.post(path, asked)
        assert (status, reply) == (200, told)

    assert [heard.target for heard in bench.upstream.heard] == ["/v1/rerank"] * 3
    assert bench.upstream.heard[0].json() == {**asked, "model": "tiny"}
    assert [(record.tokens_in, record.tokens_out) for record in bench.sink.records] == [(56, 0)] * 3


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": ["a", 3]}, "documents[1]"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
    ],
)
async def test_a_wrong_rerank_is_refused_with_the_field(bench, body, param):
    status, told, _ = await bench.post("/v1/rerank", {"model": "chat", **body})

    assert (status, told["error"]["param"]) == (400, param)


async def test_a_responses_stream_passes_with_its_ids_sealed_and_ends_without_done(bench):
    names = ResponseNames(b"test", "acme", bench.upstream.url + "/v1")
    usage = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3}
    opening = event("response.created", response={"id": "resp_1"}) + event("response.output_text.delta", delta="Hi")
    last = event("response.completed", response={"usage": usage})
    bench.upstream.play(streaming(opening[:40], opening[40:] + last[:20], last[20:] + b"data: [DONE]\n\n"))
    body = {"model": "chat", "input": "hi", "previous_response_id": names.sealed("resp_0"), "stream": True}
    status, raw = await read(bench, "/v1/responses", body)

    assert (status, raw) == (200, (opening + last).replace(b"resp_1", names.sealed("resp_1").encode()))
    record = bench.sink.records[0]
    assert (record.tokens_in, record.tokens_cache_read, record.tokens_out) == (5, 4, 3)
    assert (record.conversation, record.conversation_source) == (names.sealed("resp_0"), "previous_response_id")
    heard = bench.upstream.heard[0].json()
    assert (heard["instructions"], heard["previous_response_id"]) == ("You are rel_a.", "resp_0")
    assert "stream_options" not in heard
    assert "stop" not in heard


async def test_a_responses_stream_that_is_cut_ends_with_an_error_event_of_its_kind(bench):
    bench.upstream.play(streaming(event("response.created", response={}), cut=True))
    _, raw = await read(bench, "/v1/responses", {"model": "chat", "input": "hi", "stream": True})
    first, second = raw.strip().split(b"\n\n")

    assert first.startswith(b"event: response.created\n")
    assert second.startswith(b"event: error\ndata: ")
    told = orjson.loads(second.partition(b"data: ")[2])
    assert (told["type"], told["code"], told["sequence_number"]) == ("error", "upstream_cut", 1)
    assert bench.sink.records[0].status == 502


async def test_a_response_in_the_background_is_refused(bench):
    status, told, _ = await bench.post("/v1/responses", {"model": "chat", "input": "hi", "background": True})

    assert (status, told["error"]["param"]) == (400, "background")


async def test_azure_gets_its_own_key_header_and_the_version(bench):
    changed(bench, url_query="?api-version=2024-10-21", key_header="api-key")
    bench.upstream.play(answering({**REPLY, "usage": {"prompt_tokens": 5, "completion_tokens": 1}}))
    status, _, _ = await bench.post("/v1/chat/completions", {"model": "chat", "messages": MESSAGES})

    heard = bench.upstream.heard[0]
    assert (status, heard.target) == (200, "/v1/chat/completions?api-version=2024-10-21")
    assert heard.headers["api-key"] == "sk-engine"
    assert "authorization" not in heard.headers


async def test_azures_word_about_the_prompt_is_passed_on_but_is_no_token(bench):
    about = b'data: {"choices":[],"created":0,"id":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    token = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"content_filter_results":{}}]}\n\n'
    bench.upstream.play(streaming(about, token, b"data: [DONE]\n\n"))
    raw = await bench.stream({"model": "chat", "messages": MESSAGES})

    assert raw == about + token + b"data: [DONE]\n\n"
    assert bench.sink.records[0].tokens_out == 1


async def test_usage_in_every_chunk_is_believed_at_its_last(bench):
    def chunk(text, out):
        usage = {"prompt_tokens": 4, "completion_tokens": out, "total_tokens": 4 + out}
        return b"data: " + orjson.dumps({"choices": [{"delta": {"content": text}}], "usage": usage}) + b"\n\n"

    bench.upstream.play(streaming(chunk("a", 1), chunk("b", 2), cut=True))
    raw = await bench.stream({"model": "chat", "messages": MESSAGES})

    assert b"upstream_cut" in raw
    assert b'"usage"' not in raw
    assert (bench.sink.records[0].tokens_in, bench.sink.records[0].tokens_out) == (4, 2)


async def test_a_stream_beyond_the_limit_ends_with_an_error(run_gateway, quick):
    async with run_gateway(replace(quick, max_reply_bytes=20_000)) as bench:
        piece = b"data: " + orjson.dumps({"choices": [{"delta": {"content": "x" * 5_000}}]}) + b"\n\n"

        stopped = asyncio.Event()

        async def endless(wire):
            try:
                await wire.head()
                while not wire.heard.closed.is_set():
                    await wire.chunk(piece)
                    await asyncio.sleep(0)
            finally:
                stopped.set()

        bench.upstream.play(endless)
        raw = await bench.stream({"model": "chat", "messages": MESSAGES})

        assert b"reply_too_large" in raw
        assert b"[DONE]" not in raw
        async with asyncio.timeout(10):
            await stopped.wait()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_whole_answer_beyond_the_limit_names_the_limit_and_leaves_the_engine_in_use(
    run_gateway, quick, chunked
):
    big = orjson.dumps({"choices": [{"message": {"content": "x" * 40_000}}]})

    async def too_much(wire):
        if not chunked:
            await wire.json(big)
            return
        await wire.head(kind="application/json")
        for start in range(0, len(big), 5_000):
            await wire.chunk(big[start : start + 5_000])
        await wire.end()

    async with run_gateway(replace(quick, max_reply_bytes=20_000, breaker_failures=2)) as bench:
        bench.upstream.play(too_much)
        for _ in range(3):
            status, told, _ = await bench.post("/v1/chat/completions", {"model": "chat", "messages": MESSAGES})

        error = told["error"]
        assert (status, error["code"], error["type"]) == (502, "reply_too_large", "upstream_error")
        assert "20000 bytes" in error["message"]
        assert "server.max_reply_bytes" in error["message"]
        assert [record.status for record in bench.sink.records] == [502] * 3
        # What one caller asks for must not take the engine from all the others.
        bench.upstream.play(answering(REPLY))
        status, _, _ = await bench.post("/v1/chat/completions", {"model": "chat", "messages": MESSAGES})
        assert status == 200


async def test_an_engines_refusal_that_is_too_long_to_read_keeps_its_status(bench):
    bench.upstream.play(lambda wire: wire.json(b'{"error": {"message": "' + b"x" * (1 << 20) + b'"}}', status=422))
    status, told, _ = await bench.post("/v1/chat/completions", {"model": "chat", "messages": MESSAGES})

    assert (status, told["error"]["code"]) == (422, "upstream_422")


@pytest.mark.parametrize(
    ("raw", "code", "param"),
    [
        (b'{"model":"chat","model":"ask","messages":[]}', "duplicate_key", "model"),
        (
            b'{"model":"chat","messages":[{"role":"user","content":"a\\u0000"}]}',
            "control_character",
            "messages[0].content",
        ),
        (b'{"model":"chat","messages":' + b"[" * 200 + b"]" * 200 + b"}", "nested_too_deeply", None),
        (b'{"model":"chat\xff"}', "invalid_request", None),
        (b'{"model":"chat","messages":[{"role":"user","content":"a"}],"tools":{}}', "invalid_request", "tools"),
        (b'{"model":"chat","messages":[{"role":"user","content":"a"}],"stop":[1]}', "invalid_request", "stop"),
    ],
)
async def test_a_body_that_two_readers_could_read_differently_is_refused_before_the_engine(bench, raw, code, param):
    status, told, headers = await bench.post("/v1/chat/completions", raw)

    assert (status, told["error"]["code"], told["error"]["param"]) == (400, code, param)
    assert told["request_id"] == headers["x-request-id"]
    assert bench.upstream.heard == []
