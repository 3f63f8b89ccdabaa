"""The gateway's surface: keys, validation, every endpoint, and the official client."""

from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipway.core.errors import DeadlineError, UnavailableError, UpstreamError

ASK: dict[str, Any] = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
QUESTION: dict[str, Any] = {"model": "ask", "messages": [{"role": "user", "content": "May I return it?"}]}
REPLY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "tiny",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hallo"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23},
}
STREAM = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"tiny",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hal"},"finish_reason":null}]}\n\n'
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"tiny",'
    b'"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"tiny",'
    b'"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n'
    b"data: [DONE]\n\n"
)


async def speak(wire: Any) -> None:
    await wire.head()
    await wire.chunk(STREAM)
    await wire.end()


def sdk(bench: Any, key: str = "swk_invoke") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=bench.url + "/v1", api_key=key, max_retries=0)


async def test_the_official_client_works_unchanged_plain_and_streaming(bench):
    async with sdk(bench) as client:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        reply = await client.chat.completions.create(model="chat", messages=ASK["messages"])
        assert (reply.choices[0].message.content, reply.usage.prompt_tokens) == ("Hallo", 20)
        bench.upstream.play(speak)
        parts = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="chat", messages=ASK["messages"], stream=True, stream_options={"include_usage": True}
            )
        ]
        assert "".join(c.choices[0].delta.content or "" for c in parts if c.choices) == "Hallo"
        assert parts[-1].usage.completion_tokens == 2
        assert [model.id async for model in client.models.list()] == ["chat", "ask", "fixer", "other"]
        assert (await client.models.retrieve("chat")).to_dict()["shipway"] == {"release": "rel_a"}


async def test_the_official_client_raises_its_own_error_classes(bench):
    async with sdk(bench) as client, sdk(bench, "swk_wrong") as stranger, sdk(bench, "swk_narrow") as narrow:
        for caller, model, error in (
            (stranger, "chat", openai.AuthenticationError),
            (narrow, "chat", openai.PermissionDeniedError),
            (client, "nope", openai.NotFoundError),
        ):
            with pytest.raises(error) as caught:
                await caller.chat.completions.create(model=model, messages=ASK["messages"])
            assert caught.value.request_id.startswith("req_")
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="chat", messages=[])
        assert caught.value.param == "messages"
        bench.upstream.play(lambda wire: wire.json({}, 500))
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="chat", messages=ASK["messages"])
        bench.upstream.play(lambda wire: wire.json({"error": {"message": "slow"}}, 429, retry_after="3"))
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(model="chat", messages=ASK["messages"])
        assert limited.value.response.headers["retry-after"] == "3"


async def test_the_official_client_raises_when_a_stream_is_cut(bench):
    async def cut(wire):
        await wire.head()
        await wire.chunk(STREAM[: STREAM.index(b"\n\n") + 2])
        wire.cut()

    bench.upstream.play(cut)
    async with sdk(bench) as client:
        stream = await client.chat.completions.create(model="chat", messages=ASK["messages"], stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in stream:
                pass


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 401, "missing_api_key"),
        ("Bearer swk_wrong", 401, "invalid_api_key"),
        ("Bearer sk-other", 401, "invalid_api_key"),
        ("Basic swk_invoke", 401, "invalid_api_key"),
        ("Bearer swk_expired", 401, "key_expired"),
        ("Bearer swk_narrow", 403, "route_forbidden"),
    ],
)
async def test_a_key_that_does_not_open_is_refused_in_the_openai_shape(bench, authorization, status, code):
    headers = {"authorization": authorization} if authorization else {}
    async with bench.client.post(bench.url + "/v1/chat/completions", json=ASK, headers=headers) as reply:
        body = await reply.json()
        assert (reply.status, body["error"]["code"]) == (status, code)
        assert set(body) == {"error", "request_id"}
        assert set(body["error"]) == {"message", "type", "code", "param"}
        assert reply.headers["X-Request-Id"] == body["request_id"]
    assert bench.sink.records == []
    assert [record.status for record in bench.logged] == [status]


@pytest.mark.parametrize("path", ["/metrics", "/version"])
async def test_metrics_and_version_need_the_role_operate(bench, path):
    assert (await bench.get(path, key=None))[0] == 401
    assert (await bench.get(path))[0] == 403
    assert (await bench.get(path, key="swk_operate"))[0] == 200


async def test_metrics_may_be_made_public(run_gateway, quick):
    async with run_gateway(replace(quick, metrics_public=True)) as bench:
        assert (await bench.get("/metrics", key=None))[0] == 200


async def test_version_shows_releases_weights_parts_and_snapshot(bench):
    traffic = tuple(
        replace(route, candidate="rel_b", candidate_weight=0.25) if route.route == "chat" else route
        for route in bench.snapshot().routes
    )
    bench.apply(bench.snapshot(version=4, epoch=2, routes=traffic))
    _, body = await bench.get("/version", key="swk_operate")
    assert (body["snapshot"]["version"], body["snapshot"]["epoch"]) == (4, 2)
    assert body["routes"]["chat"]["candidate"]["release"] == "rel_b"
    assert body["routes"]["chat"]["candidate_weight"] == 0.25
    assert body["routes"]["chat"]["stable"]["parts"] == {"prompt": "sha256:rel_a"}
    assert body["routes"]["ask"]["candidate"] is None


async def test_health_and_ready_need_no_key_and_ready_says_what_is_missing(bench):
    assert (await bench.get("/health", key=None))[0] == 200
    assert await bench.get("/ready", key=None) == (200, {"status": "ready"})
    bench.serving.store_reachable = False
    bench.gateway.drain()
    status, body = await bench.get("/ready", key=None)
    assert (status, body["missing"]) == (503, ["draining", "store not reachable"])
    assert (await bench.get("/health", key=None))[0] == 200


async def test_ready_fails_without_a_snapshot_and_while_an_engine_is_silent(bench):
    await bench.upstream.stop()
    status, body = await bench.get("/ready", key=None)
    assert (status, body["missing"]) == (503, ["1 of 1 engines do not answer"])
    bench.serving.current = None
    assert (await bench.get("/ready", key=None))[1]["missing"] == ["no snapshot applied"]
    assert (await bench.get("/v1/models"))[0] == 503
    await bench.upstream.start()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**ASK, "messages": "hi"}, "messages"),
        ({**ASK, "messages": ["hi"]}, "messages[0]"),
        ({**ASK, "messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
        ({**ASK, "messages": [{"role": "user"}]}, "messages[0].content"),
        ({**ASK, "model": 7}, "model"),
        ({**ASK, "stream": "yes"}, "stream"),
        ({**ASK, "stream_options": {"include_usage": 1}}, "stream_options"),
        ({**ASK, "max_tokens": 0}, "max_tokens"),
        ({**ASK, "temperature": "hot"}, "temperature"),
        ({**ASK, "metadata": []}, "metadata"),
        ({**ASK, "metadata": {"conversation_id": 7}}, "metadata.conversation_id"),
    ],
)
async def test_a_wrong_field_is_named(bench, body, param):
    status, reply, _ = await bench.post("/v1/chat/completions", body)
    assert (status, reply["error"]["param"]) == (400, param)
    assert reply["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"model":"\\ud800"}', b'{"model":NaN}', b"[" * 100_000],
    ids=["empty", "open", "list", "null", "text", "latin", "surrogate", "nan", "deep"],
)
async def test_what_is_no_json_object_is_a_400(bench, raw):
    assert (await bench.post("/v1/chat/completions", raw))[0] == 400


async def test_json_deeper_than_the_encoder_goes_is_a_400(bench):
    deep = b'{"model":"chat","messages":[{"role":"user","content":"hi"}],"x":' + b"[" * 600 + b"]" * 600 + b"}"
    assert (await bench.post("/v1/chat/completions", deep))[0] == 400


async def test_another_content_type_and_a_repeated_header_are_refused(bench):
    assert (await bench.post("/v1/chat/completions", ASK, content_type="text/plain"))[0] == 415
    assert (await bench.post("/v1/chat/completions", ASK, content_encoding="gzip"))[0] == 415
    headers = [("authorization", "Bearer swk_invoke"), ("x-shipway-conversation", "a"), ("x-shipway-conversation", "b")]
    async with bench.client.post(bench.url + "/v1/chat/completions", json=ASK, headers=headers) as reply:
        assert (reply.status, (await reply.json())["error"]["param"]) == (400, "x-shipway-conversation")


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_the_limit_is_a_413_before_it_is_held(run_gateway, quick, chunked):
    async def parts():
        for _ in range(64):
            yield b" " * 1024

    async with run_gateway(replace(quick, max_body_bytes=4096)) as bench:
        headers = {"authorization": "Bearer swk_invoke", "content-type": "application/json"}
        body = parts() if chunked else b" " * 65536
        async with bench.client.post(bench.url + "/v1/chat/completions", data=body, headers=headers) as reply:
            assert (reply.status, (await reply.json())["error"]["code"]) == (413, "body_too_large")


async def test_input_over_the_routes_limit_is_refused_with_its_size(run_gateway, quick):
    async with run_gateway(replace(quick, max_input_chars=10)) as bench:
        body = {**ASK, "messages": [{"role": "user", "content": "x" * 11}]}
        status, reply, _ = await bench.post("/v1/chat/completions", body)
        assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")
        assert bench.upstream.heard == []


async def test_an_operator_may_pin_a_release_in_force_and_others_may_not(bench):
    traffic = tuple(replace(route, candidate="rel_b") for route in bench.snapshot().routes)
    bench.apply(bench.snapshot(version=2, routes=traffic, rollout="ro_1"))
    bench.upstream.play(lambda wire: wire.json(REPLY))
    assert (await bench.post("/v1/chat/completions", ASK, x_shipway_release="rel_b"))[0] == 403
    status, _, headers = await bench.post("/v1/chat/completions", ASK, key="swk_operate", x_shipway_release="rel_b")
    assert (status, headers["X-Shipway-Release"]) == (200, "rel_b")
    (record,) = bench.sink.records
    assert (record.is_candidate, record.rollout, record.events) == (True, None, ("pinned",))
    assert (await bench.post("/v1/chat/completions", ASK, key="swk_operate", x_shipway_release="rel_x"))[0] == 404


async def test_a_bad_candidate_on_a_common_engine_costs_no_user_of_stable_an_answer(bench):
    async def by_release(wire: Any) -> None:
        if wire.heard.headers["x-shipway-release"] == "rel_b":
            wire.cut()
        else:
            await wire.json(REPLY)

    routes = tuple(replace(route, candidate="rel_b", candidate_weight=0.5) for route in bench.snapshot().routes)
    bench.apply(bench.snapshot(version=2, routes=routes, rollout="ro_1"))
    bench.upstream.play(by_release)
    for number in range(60):
        await bench.post("/v1/chat/completions", ASK, x_shipway_conversation=f"c{number}")
    statuses = {
        release: {r.status for r in bench.sink.records if r.release == release} for release in ("rel_a", "rel_b")
    }
    assert statuses["rel_a"] == {200}
    # The candidate's own breaker has opened.
    assert statuses["rel_b"] == {502, 503}


async def test_completions_embeddings_and_generate_reach_the_engine(bench):
    bench.upstream.play(
        lambda wire: wire.json({"choices": [{"text": "x"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        lambda wire: wire.json({"data": [], "usage": {"prompt_tokens": 4}}),
        lambda wire: wire.json(REPLY),
    )
    assert (await bench.post("/v1/completions", {"model": "chat", "prompt": "a"}))[0] == 200
    assert (await bench.post("/v1/embeddings", {"model": "chat", "input": ["a", "b"]}))[0] == 200
    status, body, headers = await bench.post("/generate", {"route": "chat", "prompt": "hi", "max_tokens": 5})
    assert [heard.target for heard in bench.upstream.heard] == [
        "/v1/completions",
        "/v1/embeddings",
        "/v1/chat/completions",
    ]
    assert bench.upstream.heard[1].json() == {"model": "tiny", "input": ["a", "b"]}
    assert status == 200
    assert (body["text"], body["release"], body["route"]) == ("Hallo", "rel_a", "chat")
    assert body["request_id"] == headers["X-Request-Id"]
    assert len(bench.sink.records) == 3


async def test_an_answer_route_gives_text_and_citations_through_the_chat_api(bench):
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": [{"type": "text", "text": "May I return it?"}]},
    ]
    _, body, _ = await bench.post("/v1/chat/completions", {"model": "ask", "messages": messages})
    assert body["choices"][0]["message"]["content"] == bench.answerer.result.text
    assert body["citations"] == list(bench.answerer.result.citations)
    assert body["usage"]["prompt_tokens"] == 50
    ((question, history, principal),) = bench.answerer.asked
    assert (question, [item["role"] for item in history]) == ("May I return it?", ["user", "assistant"])
    assert (principal.tenant, principal.groups) == ("acme", frozenset({"staff"}))
    (record,) = bench.sink.records
    assert (record.events, record.documents, record.retrieval_count) == (("fallback",), ("returns.md",), 3)
    assert (record.tokens_in, record.tokens_cache_read, record.model) == (40, 10, "small")


async def test_a_streamed_answer_has_several_deltas_and_citations_at_its_end(bench):
    async with sdk(bench) as client:
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="ask", messages=QUESTION["messages"], stream=True, stream_options={"include_usage": True}
            )
        ]
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(texts) > 1
    assert "".join(texts) == bench.answerer.result.text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].to_dict()["citations"] == list(bench.answerer.result.citations)
    assert chunks[-1].usage.total_tokens == 62
    assert bench.sink.records[0].stream


@pytest.mark.parametrize(
    ("error", "status", "event"),
    [
        (DeadlineError("late"), 504, "timeout"),
        (UnavailableError("at 10.0.0.3"), 503, "error"),
        (RuntimeError("a bug with a /path"), 500, "error"),
    ],
)
async def test_an_answerer_that_fails_is_an_error_without_internals_and_an_event(bench, error, status, event):
    bench.answerer.error = error
    found, body, _ = await bench.post("/v1/chat/completions", QUESTION)
    assert found == status
    assert str(error) not in str(body)
    assert bench.sink.records[0].events == (event,)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/rag_answer", {"question": "Returns?"}),
        ("/v1/chat/completions", {"model": "ask", "messages": ASK["messages"]}),
        ("/generate", {"route": "ask", "prompt": "Returns?"}),
    ],
)
async def test_an_engine_without_room_behind_an_answer_is_passed_on_and_counts_against_the_release(bench, path, asked):
    said = "http://10.0.0.7/v1/chat/completions answers 429: queue full"
    bench.answerer.error = UpstreamError(said, status=429, retry_after="7")

    status, body, headers = await bench.post(path, asked)

    assert (status, body["error"]["code"], headers["Retry-After"]) == (429, "upstream_429", "7")
    assert "10.0.0.7" not in str(body)
    (record,) = bench.sink.records
    assert (record.status, record.error_type, record.events) == (429, "upstream_429", ("error",))


async def test_rag_answer_finds_the_only_answer_route_and_names_what_it_used(bench):
    status, body, headers = await bench.post("/rag_answer", {"question": "May I?", "conversation_id": "c9"})
    assert (status, body["answer"]) == (200, bench.answerer.result.text)
    assert (body["release"], body["request_id"]) == ("rel_a", headers["X-Request-Id"])
    assert (bench.sink.records[0].conversation, bench.sink.records[0].conversation_source) == ("c9", "metadata")
    assert (await bench.post("/rag_answer", {"question": "May I?", "route": "chat"}))[0] == 400
    assert (await bench.post("/rag_answer", {"question": 1}))[0] == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "ask", "input": "x"}),
        ("/v1/completions", {"model": "ask", "prompt": "x"}),
        ("/v1/chat/completions", {**ASK, "model": "fixer"}),
        ("/generate", {"route": "fixer", "prompt": "x"}),
        ("/generate", {"route": "chat", "prompt": "x", "stream": True}),
    ],
)
async def test_the_wrong_endpoint_for_a_route_is_a_400_that_names_the_right_one(bench, path, body):
    status, reply, _ = await bench.post(path, body)
    assert status == 400
    assert "/v1/chat/completions" in reply["error"]["message"] or "/svc/fixer/" in reply["error"]["message"]


async def test_an_unknown_path_and_a_wrong_method_are_told_apart(bench):
    assert (await bench.get("/v2/chat"))[0] == 404
    assert (await bench.get("/v2/chat", key=None))[0] == 401
    assert (await bench.get("/v1/chat/completions"))[0] == 405


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("chat") | st.just("ask") | JSON,
        "route": st.just("chat") | JSON,
        "messages": st.lists(
            st.fixed_dictionaries({"role": st.sampled_from(["user", "tool", "assistant"]) | JSON, "content": JSON}),
            max_size=3,
        )
        | JSON,
        "stream": JSON,
        "stream_options": JSON,
        "metadata": st.fixed_dictionaries({"conversation_id": JSON}) | JSON,
        "previous_response_id": JSON,
        "prompt": JSON,
        "question": JSON,
        "input": JSON,
        "max_tokens": JSON,
        "max_completion_tokens": JSON,
    },
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=FIELDS | JSON)
async def test_no_json_whatever_makes_a_server_error(bench, body):
    bench.upstream.play(lambda wire: wire.json(REPLY) if b'"stream":true' not in wire.heard.body else speak(wire))
    try:
        raw = orjson.dumps(body)
    except TypeError:
        raw = b"{}"
    headers = {"authorization": "Bearer swk_invoke", "content-type": "application/json"}
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/generate", "/rag_answer"):
        async with bench.client.post(bench.url + path, data=raw, headers=headers) as reply:
            assert reply.status < 500, await reply.text()


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/generate", "/rag_answer", "/svc/fixer/x"]
)
async def test_before_any_deploy_a_key_is_told_to_deploy_and_not_that_its_model_does_not_exist(bench, path):
    bench.apply(bench.snapshot(routes=()))
    status, reply, headers = await bench.post(path, {"model": "chat"})
    assert (status, reply["error"]["code"], headers["retry-after"]) == (503, "nothing_deployed", "10"), reply
    assert reply["error"]["type"] == "unavailable_error"
    assert "nothing is deployed yet" in reply["error"]["message"]
    assert "`shipway deploy RELEASE`" in reply["error"]["message"]
    assert (await bench.get("/v1/models/chat"))[0] == 503
    assert (await bench.get("/ready", key=None))[1]["missing"] == ["nothing is deployed"]
    assert (await bench.get("/v1/models"))[1]["data"] == []


async def test_before_the_first_snapshot_the_same_is_said_to_everybody(bench):
    bench.serving.current, bench.serving.unwritten = None, True
    status, reply, _ = await bench.post("/v1/chat/completions", ASK)
    assert (status, reply["error"]["code"]) == (503, "nothing_deployed")
    bench.serving.unwritten = False
    status, reply, _ = await bench.post("/v1/chat/completions", ASK)
    assert (status, reply["error"]["code"]) == (503, "starting")
