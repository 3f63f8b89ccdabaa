"""What every embedded engine does on the wire, with and without a model."""

import json

import pytest

pytestmark = pytest.mark.anyio

QUESTION = "Text: Late books cost 20 cents a day.\nQuestion: What does a late book cost?"


async def streamed(engine, text, **fields):
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "stream": True,
        **fields,
    }
    async with engine.http.post(engine.url + "/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = (await reply.text()).split("\n\n")
    assert lines[-1] == ""
    return [line.removeprefix("data: ") for line in lines[:-1]]


async def test_a_chat_completion_has_an_answer_and_usage_that_adds_up(engine):
    status, reply = await engine.chat(QUESTION, max_tokens=12)
    assert status == 200
    assert reply["object"] == "chat.completion"
    choice = reply["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].strip()
    assert choice["finish_reason"] in {"stop", "length"}
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] <= usage["prompt_tokens"]
    assert 0 < usage["completion_tokens"] <= 12


async def test_a_stream_is_the_same_answer_in_pieces_and_ends_with_usage(engine):
    await engine.chat(QUESTION, max_tokens=12)
    _, whole = await engine.chat(QUESTION, max_tokens=12)
    *chunks, done = await streamed(engine, QUESTION, max_tokens=12, stream_options={"include_usage": True})
    chunks = [json.loads(chunk) for chunk in chunks]
    said = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert said == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1


async def test_usage_is_streamed_only_when_asked_for(engine):
    *chunks, _ = await streamed(engine, QUESTION, max_tokens=4)
    assert not any("usage" in json.loads(chunk) for chunk in chunks)


async def test_a_plain_completion_continues_a_prompt(engine):
    body = {"model": "echo", "prompt": "One two three", "max_tokens": 4, "temperature": 0}
    status, reply = await engine.post("/v1/completions", body)
    assert status == 200
    assert reply["object"] == "text_completion"
    assert reply["choices"][0]["text"]


async def test_models_are_listed(engine):
    async with engine.http.get(engine.url + "/v1/models") as reply:
        listed = await reply.json()
    assert [item["id"] for item in listed["data"]] == ["echo"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/v1/chat/completions", {"messages": []}, 400), ("/v1/completions", {}, 400), ("/v1/audio", {}, 404)],
)
async def test_refusals_have_the_shape_of_openais_errors(engine, path, body, status):
    found, reply = await engine.post(path, body)
    assert found == status
    assert reply["error"].keys() == {"message", "type", "param", "code"}


async def test_requests_and_tokens_are_counted(engine):
    await engine.chat(QUESTION, max_tokens=4)
    metrics = await engine.metrics()
    assert 'shipway_engine_requests_total{outcome="served"} 1.0' in metrics
    assert 'shipway_engine_tokens_total{kind="completion"} 4.0' in metrics


async def test_a_client_that_leaves_mid_stream_ends_its_generation(engine):
    body = {
        "model": "echo:hang_mid",
        "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
        "max_tokens": 800,
        "stream": True,
        "temperature": 0,
    }
    async with engine.http.post(engine.url + "/v1/chat/completions", json=body) as reply:
        await reply.content.readany()
        reply.close()
    await engine.until_metric('shipway_engine_requests_total{outcome="cancelled"} 1.0')
    assert (await engine.chat(QUESTION, max_tokens=4))[0] == 200
