import tracemalloc

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shipway.gateway.exchange import Headers
from shipway.gateway.replies import RefusedError
from shipway.gateway.validate import Endpoint, encoded, json_object, last_user_text, model_call

JSON_HEADERS = Headers([(b"content-type", b"application/json; charset=UTF-8")])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=5,
)
BODY = st.dictionaries(
    st.sampled_from(
        [
            "model",
            "messages",
            "prompt",
            "input",
            "instructions",
            "query",
            "documents",
            "stream",
            "stream_options",
            "metadata",
            "n",
            "max_tokens",
            "tools",
            "stop",
        ]
    ),
    JSON | st.lists(st.fixed_dictionaries({"role": JSON | st.just("user"), "content": JSON})),
)


def attempted(work):
    """Return the result and the refusal of a check; anything else it raises is a failure of the test."""
    try:
        return work(), None
    except RefusedError as refusal:
        return None, refusal


@given(st.sampled_from(list(Endpoint)), BODY)
@example(Endpoint.CHAT, {"model": "m", "messages": [{"role": [], "content": "x"}]})
def test_any_object_is_a_call_or_a_refusal_that_names_a_field(endpoint, body):
    call, refusal = attempted(lambda: model_call(endpoint, body))
    if refusal:
        assert refusal.status == 400
        assert refusal.param
    else:
        assert call.route == body["model"]
        assert call.input_chars >= 0
        last_user_text(body)


@given(st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_any_bytes_are_an_object_or_a_400(raw):
    value, refusal = attempted(lambda: json_object(JSON_HEADERS, raw))
    assert isinstance(value, dict) if refusal is None else refusal.status == 400


@pytest.mark.parametrize(
    "kind", [b"text/plain", b"application/x-www-form-urlencoded", b"application/json; charset=latin-1"]
)
def test_another_content_type_is_a_415(kind):
    with pytest.raises(RefusedError) as caught:
        json_object(Headers([(b"content-type", kind)]), b"{}")
    assert caught.value.status == 415


def test_usage_is_wanted_only_in_a_stream_that_asks_for_it():
    base = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}}
    assert not model_call(Endpoint.CHAT, base).wants_usage
    assert model_call(Endpoint.CHAT, {**base, "stream": True}).wants_usage
    assert not model_call(Endpoint.CHAT, {**base, "stream": True, "stream_options": None}).wants_usage


def test_an_assistants_tool_call_needs_no_content():
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": []}]
    assert model_call(Endpoint.CHAT, {"model": "m", "messages": messages}).input_chars == 1


def test_tokens_count_one_each():
    assert model_call(Endpoint.EMBEDDINGS, {"model": "m", "input": [[1, 2], [3]]}).input_chars == 3


def test_an_encoded_body_takes_no_more_room_than_its_bytes():
    body = {"messages": [{"role": "user", "content": "a" * 5000}]}
    tracemalloc.start()
    try:
        kept = [encoded(body) for _ in range(100)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1.2 * sum(map(len, kept))
