"""A spliced request says what the engine's body says, or is not spliced."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.model import RouteLimits
from shipway.gateway.ports import ChatRoute
from shipway.gateway.relay import engine_body, splice
from shipway.gateway.strict_json import strict_body
from shipway.gateway.validate import Endpoint, model_call

ROUTE = ChatRoute("http://127.0.0.1:1/v1", 'up"stream', decoding={"temperature": 0.1, "max_tokens": 64})
TEXTS = st.sampled_from(["chat", '"model":"chat"', '{"model":"chat"}', "model", "x", '\\"model\\":', "ü\n"])
NESTED = st.recursive(
    TEXTS | st.integers(-5, 5) | st.none() | st.booleans(),
    lambda inner: st.dictionaries(st.sampled_from(["model", "a", "metadata"]), inner, max_size=3),
    max_leaves=5,
)
MORE = st.dictionaries(
    st.sampled_from(["temperature", "x", "tools2", "conversation_id", "max_completion_tokens", "seed", "logit_bias"]),
    st.just(1) | st.just(None) | NESTED.filter(lambda value: isinstance(value, dict)),
    max_size=4,
)


def of(route, raw, endpoint=Endpoint.CHAT):
    body, canonical = strict_body(raw)
    call = model_call(endpoint, body)
    how = splice(route, endpoint, call.route)
    return engine_body(call, route), how.of(raw, body) if canonical and how is not None else None


def valid(body):
    checked = ("temperature", "seed", "max_completion_tokens", "conversation_id")
    return {**body, **{name: 1 for name in checked if isinstance(body.get(name), dict)}}


@given(text=TEXTS, more=MORE, first=st.booleans())
def test_what_is_spliced_is_what_would_be_built(text, more, first):
    named = {"model": "chat", "messages": [{"role": "user", "content": text, "name": "n"}]}
    body = {**named, **valid(more)} if first else {**valid(more), **named}
    built, spliced = of(ROUTE, orjson.dumps(body))

    assert spliced is None or orjson.loads(spliced) == built


@pytest.mark.parametrize("endpoint", [Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS])
def test_other_endpoints_are_spliced_as_they_are_built(endpoint):
    built, spliced = of(ROUTE, orjson.dumps({"model": "chat", "prompt": "a", "input": "a"}), endpoint)

    assert spliced is not None
    assert orjson.loads(spliced) == built


HI = [{"role": "user", "content": "hi"}]


def test_a_plain_request_is_spliced():
    built, spliced = of(ROUTE, orjson.dumps({"messages": [{"role": "user", "content": "hi"}], "model": "chat"}))

    assert spliced is not None
    assert orjson.loads(spliced) == built == {**built, "model": 'up"stream', "temperature": 0.1, "max_tokens": 64}


@pytest.mark.parametrize(
    "raw",
    [
        b'{"\\u006dodel":"chat","messages":[{"role":"user","content":"a"}],"x":{"model":"chat"}}',
        b'{"model": "chat","messages":[{"role":"user","content":"a"}],"x":{"model":"chat"}}',
        b'{"messages":[{"role":"user","content":"a"}],"x":{"model":"chat"},"model":"chat"}',
    ],
    ids=["escaped", "spaced", "twice"],
)
def test_a_key_that_might_be_another_is_not_spliced(raw):
    assert of(ROUTE, raw)[1] is None


def test_the_key_that_stands_first_is_the_body_s_own_and_another_one_stays_as_it_is():
    built, spliced = of(ROUTE, orjson.dumps({"model": "chat", "messages": HI, "x": {"model": "chat"}}))

    assert spliced is not None
    assert orjson.loads(spliced) == built == {**built, "model": 'up"stream', "x": {"model": "chat"}}


def test_a_route_that_changes_more_is_not_spliced():
    raw = orjson.dumps({"model": "chat", "messages": [{"role": "user", "content": "a"}]})
    prefixed = ChatRoute("http://127.0.0.1:1/v1", "m", prefix_messages=({"role": "system", "content": "s"},))
    capped = ChatRoute("http://127.0.0.1:1/v1", "m", limits=RouteLimits(max_output_tokens=5))

    assert of(prefixed, raw)[1] is None
    assert of(capped, raw)[1] is None
