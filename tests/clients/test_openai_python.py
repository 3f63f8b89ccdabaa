"""The official Python SDK against the gateway: what it sends, parses, raises and retries."""

import asyncio
import base64
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

MESSAGES: list[Any] = [{"role": "user", "content": "red green blue"}]
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
]


@pytest.fixture
def client(gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=0, timeout=10) as made:
        yield made


@pytest.fixture
def sleeps(monkeypatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def test_a_chat_is_answered_with_usage_and_ids(client, gateway):
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=MESSAGES)
    reply = raw.parse()

    assert reply.choices[0].message.content == "red green blue"
    assert reply.usage.prompt_tokens > 3
    assert raw.headers["x-request-id"] == gateway.records[0].id == reply._request_id
    assert raw.headers["x-shipway-release"] == "rel_a"
    assert gateway.records[0].tokens_out == reply.usage.completion_tokens


def test_a_stream_comes_in_pieces_and_ends_with_usage(client):
    with client.chat.completions.create(
        model="chat", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "red green blue"
    assert chunks[-1].usage.completion_tokens == 3


def test_the_streaming_helper_accumulates_tool_calls(client):
    with client.chat.completions.stream(model="chat", messages=MESSAGES, tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()

    assert "tool_calls.function.arguments.delta" in kinds
    call = final.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "red green blue", "days": 1}')


def test_a_tools_result_is_answered(client):
    asked = client.chat.completions.create(model="chat", messages=MESSAGES, tools=TOOLS, tool_choice="required")
    message = asked.choices[0].message
    assert asked.choices[0].finish_reason == "tool_calls"
    told = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    reply = client.chat.completions.create(
        model="chat", messages=[*MESSAGES, message.model_dump(exclude_none=True), told], tools=TOOLS
    )

    assert reply.choices[0].message.content == "sunny"


def test_structured_output_is_parsed_into_the_callers_class(client):
    class Colour(BaseModel):
        name: str
        bright: bool

    reply = client.chat.completions.parse(model="chat", messages=MESSAGES, response_format=Colour)

    assert reply.choices[0].message.parsed == Colour(name="red green blue", bright=True)


def test_several_choices_logprobs_and_images_pass(client):
    content = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    reply = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": content}], n=2, logprobs=True, top_logprobs=1, user="u-1"
    )

    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.choices[0].message.content == "what is this[image_url]"
    assert reply.choices[0].logprobs.content[0].top_logprobs[0].token == "what "


def test_stop_texts_and_completions_work(client):
    stopped = client.chat.completions.create(model="chat", messages=MESSAGES, stop=["blue"])
    assert stopped.choices[0].message.content == "red green "
    reply = client.completions.create(model="chat", prompt="one two", max_tokens=1)
    assert (reply.choices[0].text, reply.choices[0].finish_reason) == ("one ", "length")


def test_embeddings_come_as_numbers_whichever_encoding_the_sdk_asks_for(client):
    default = client.embeddings.create(model="chat", input=["a", "b"])
    plain = client.embeddings.create(model="chat", input=["a", "b"], encoding_format="float", dimensions=8)

    assert len(default.data) == 2
    assert default.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)
    packed = client.embeddings.create(model="chat", input="a", encoding_format="base64").data[0].embedding
    assert len(base64.b64decode(packed)) == 32


def test_models_are_listed_and_looked_up(client):
    assert "chat" in [model.id for model in client.models.list()]
    assert client.models.retrieve("chat").owned_by == "shipway"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_a_response_is_answered_and_continued(client, gateway):
    first = client.responses.create(model="chat", input="hello", metadata={"a": "b"})
    second = client.responses.create(model="chat", input="again", previous_response_id=first.id)

    assert first.output_text == "hello"
    assert first.metadata == {"a": "b"}
    assert first.instructions == "You repeat."
    assert second.previous_response_id == first.id
    assert gateway.records[0].tokens_out == 1
    assert gateway.records[1].conversation == first.id


def test_a_responses_stream_is_read_by_the_sdks_helper(client, gateway):
    with client.responses.stream(model="chat", input="red green blue") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()

    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert final.output_text == "red green blue"
    assert (gateway.records[0].tokens_out, gateway.records[0].stream) == (3, True)


@pytest.mark.parametrize(
    ("call", "kind", "code"),
    [
        ({"model": "nope"}, openai.NotFoundError, "model_not_found"),
        ({"messages": []}, openai.BadRequestError, "invalid_request"),
        ({"extra_body": {"stream": "yes"}}, openai.BadRequestError, "invalid_request"),
        # Another test may have asked a moment ago: then the engine is still left alone.
        ({"model": "chat-rate_429"}, openai.RateLimitError, "injected engine_cooling"),
        ({"model": "chat-error_500"}, openai.InternalServerError, "upstream_500"),
        ({"model": "chat-cut_mid"}, openai.InternalServerError, "upstream_cut"),
    ],
)
def test_each_failure_raises_the_sdks_own_class(client, call, kind, code):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "chat", "messages": MESSAGES, **call})

    assert caught.value.code in code.split()
    assert caught.value.request_id.startswith("req_")


def test_a_wrong_key_is_an_authentication_error(gateway):
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key="swk_wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_a_cut_stream_raises_after_what_had_come(client, gateway):
    stream = client.chat.completions.create(model="chat-cut_mid", messages=MESSAGES, stream=True)
    assert next(stream).choices[0].delta.role == "assistant"
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)

    assert gateway.records[0].status == 502


def test_a_stream_that_falls_silent_raises(client):
    with pytest.raises(openai.APIError, match="no answer in time"):
        list(client.chat.completions.create(model="chat-hang_mid", messages=MESSAGES, stream=True))


def test_the_sdk_retries_when_the_engine_names_a_time(gateway, sleeps):
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=2) as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(model="chat-rate_429", messages=MESSAGES)

    assert caught.value.response.headers["retry-after"] == "1"
    assert sleeps == [1.0, 1.0]
    assert len(gateway.records) == 3


def test_the_sdk_does_not_retry_a_request_that_is_wrong(gateway, sleeps):
    with (
        openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=2) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.chat.completions.create(model="chat", messages=[])

    assert sleeps == []


def test_leaving_a_stream_stops_the_engine(client, gateway):
    messages: list[Any] = [{"role": "user", "content": "a " * 400}]
    stream = client.chat.completions.create(model="chat-slow", messages=messages, stream=True)
    next(iter(stream))
    stream.close()
    end_s = time.monotonic() + 5
    while not gateway.records and time.monotonic() < end_s:
        time.sleep(0.01)

    assert gateway.records[0].status == 499
    assert gateway.records[0].tokens_out < 400


async def test_many_async_calls_share_a_client(gateway):
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=0) as client:
        replies = await asyncio.gather(
            *(
                client.chat.completions.create(model="chat", messages=[{"role": "user", "content": f"say {number}"}])
                for number in range(20)
            )
        )

    assert [reply.choices[0].message.content for reply in replies] == [f"say {number}" for number in range(20)]


def test_rerank_has_no_method_in_the_sdk_but_a_path(client, gateway):
    documents = ["a blue whale", "the red fox", {"text": "red"}]
    body = {"model": "chat", "query": "red fox", "documents": documents, "top_n": 2}
    for path in ("/rerank", "../rerank", "../v2/rerank"):
        reply = client.post(path, body=body, cast_to=object)
        assert [item["index"] for item in reply["results"]] == [1, 2]
    assert [record.tokens_in for record in gateway.records] == [9, 9, 9]
