import json
import math
from typing import Any

import pytest

from shipway.adapters.echo.surface import (
    chat_events,
    chat_reply,
    embeddings_reply,
    instance_of,
    needs_surface,
    rerank_reply,
    response_events,
    response_reply,
)
from shipway.adapters.openai_http.wire import RefusedError

TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "red green"}], **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL]},
        {"logprobs": True},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {"messages": [{"role": "tool", "content": "x"}]},
    ],
)
def test_what_the_plain_engine_does_not_know_is_answered_here(fields: dict[str, Any]) -> None:
    assert needs_surface(chat(**fields))


@pytest.mark.parametrize("fields", [{}, {"n": 1}, {"response_format": {"type": "text"}}, {"tools": []}])
def test_a_plain_chat_is_left_to_the_plain_engine(fields: dict[str, Any]) -> None:
    assert not needs_surface(chat(**fields))


def test_a_tool_is_called_until_its_result_is_there() -> None:
    choice = chat_reply(chat(tools=[TOOL]))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"city": "red green"}

    answered = chat(tools=[TOOL], messages=[{"role": "user", "content": "x"}, {"role": "tool", "content": "sunny"}])
    assert chat_reply(answered)["choices"][0]["message"]["content"] == "sunny"
    assert chat_reply(chat(tools=[TOOL], tool_choice="none"))["choices"][0]["message"]["content"] == "red green"


def test_a_tool_choice_that_names_no_tool_is_refused() -> None:
    with pytest.raises(RefusedError):
        chat_reply(chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "nope"}}))


def test_the_pieces_of_a_streamed_call_are_the_whole_one() -> None:
    body = chat(tools=[TOOL], stream=True, stream_options={"include_usage": True})
    *chunks, usage = chat_events(body)
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]

    whole = chat_reply(body)
    assert (
        "".join(call["function"]["arguments"] for call in calls)
        == (whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    )
    assert usage["usage"] == whole["usage"]


def test_a_schema_is_filled_with_the_plainest_values() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "array", "items": {"type": "integer"}},
            "c": {"enum": ["x", "y"]},
            "d": {"const": 7},
            "e": {"type": ["null", "string"]},
            "f": {"type": "boolean"},
        },
    }

    assert instance_of(schema, "t") == {"a": "t", "b": [1], "c": "x", "d": 7, "e": None, "f": True}


def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone() -> None:
    first, second = embeddings_reply({"input": ["a", "b"], "dimensions": 4})["data"]

    assert math.isclose(sum(value * value for value in first["embedding"]), 1.0)
    assert first["embedding"] != second["embedding"]
    assert embeddings_reply({"input": "a", "dimensions": 4})["data"][0]["embedding"] == first["embedding"]


def test_documents_are_ordered_by_the_words_they_share() -> None:
    reply = rerank_reply({"query": "red fox", "documents": ["a whale", "the red fox", {"text": "red"}], "top_n": 2})

    assert [(item["index"], item["relevance_score"]) for item in reply["results"]] == [(1, 1.0), (2, 0.5)]


def test_a_streamed_response_is_numbered_and_ends_with_the_whole_one() -> None:
    body = {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "red green"}]}]}
    events = list(response_events(body))

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert said == "red green"
    assert events[-1]["response"] == response_reply(body)
