"""A spliced request says what the engine's body says, or is not spliced."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.model import RouteLimits
from shipway.gateway.ports import ChatRoute
from shipway.gateway.relay import asking_usage, engine_body, splice
from shipway.gateway.strict_json import strict_body
from shipway.gateway.validate import Endpoint, model_call

ROUTE = ChatRoute("http://127.0.0.1:1/v1", 'up"stream', decoding={"temperature": 0.1, "max_tokens": 64})
PROMPT = ({"role": "system", "content": 'Say "messages":[ or {"model":"chat"}\n'}, {"role": "user", "content": "ü"})
ROUTES = st.builds(
    ChatRoute,
    st.just("http://127.0.0.1:1/v1"),
    st.sampled_from(["up", 'up"stream', '"messages":[']),
    decoding=st.sampled_from([{}, ROUTE.decoding, {"max_tokens": 900}, {"max_completion_tokens": 9}]),
    limits=st.sampled_from([RouteLimits(), RouteLimits(max_output_tokens=50), RouteLimits(max_output_tokens=900)]),
    prefix_messages=st.sampled_from([(), PROMPT]),
)
TEXTS = st.sampled_from(
    [
        "chat",
        '"model":"chat"',
        '{"model":"chat"}',
        "model",
        "x",
        '\\"model\\":',
        "ü\n",
        "null",
        '"messages":[',
        '"messages',
    ]
)
NESTED = st.recursive(
    TEXTS | st.integers(-5, 5) | st.none() | st.booleans(),
    lambda inner: (
        st.dictionaries(st.sampled_from(["model", "a", "metadata", "messages", 'x"messages']), inner, max_size=3)
        | st.lists(inner, max_size=2)
    ),
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
    return engine_body(call, route), how.of(raw, body) if canonical else None


def valid(body):
    checked = ("temperature", "seed", "max_completion_tokens", "conversation_id")
    return {**body, **{name: 1 for name in checked if isinstance(body.get(name), dict)}}


WISHES = st.sampled_from(
    [{}, {"stream": True}]
    + [{"stream": True, "stream_options": wish} for wish in ({}, {"include_usage": True}, {"include_usage": False})]
    + [{"stream": True, "stream_options": {"include_usage": True, "x": 1}}]
)
MOST = st.none() | st.sampled_from([1, 50, 51, 900, 901])


@given(text=TEXTS, more=MORE, first=st.booleans(), route=ROUTES, wishes=WISHES, most=MOST)
def test_what_is_spliced_is_what_would_be_built(text, more, first, route, wishes, most):
    named = {"model": "chat", "messages": [{"role": "user", "content": text, "name": "n"}]}
    asked = {**valid(more), **wishes, **({} if most is None else {"max_tokens": most})}
    body = {**named, **asked} if first else {**asked, **named}
    built, spliced = of(route, orjson.dumps(body))
    if spliced is not None and wishes:
        spliced = asking_usage(spliced, body)

    assert spliced is None or (orjson.loads(spliced) == built and keys(spliced) == len(built))


def keys(spliced):
    """Return how many keys an object has, those that stand twice counted twice."""
    return len(json.loads(spliced, object_pairs_hook=list))


@pytest.mark.parametrize("endpoint", [Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS])
def test_other_endpoints_are_spliced_as_they_are_built(endpoint):
    built, spliced = of(ROUTE, orjson.dumps({"model": "chat", "prompt": "a", "input": "a"}), endpoint)

    assert spliced is not None
    assert orjson.loads(spliced) == built


HI = [{"role": "user", "content": "hi"}]
PROMPTED = ChatRoute("http://127.0.0.1:1/v1", "m", prefix_messages=PROMPT, limits=RouteLimits(max_output_tokens=50))
PLAIN = orjson.dumps({"model": "chat", "messages": HI})


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


LONG = {"model": "chat", "messages": HI, "max_tokens": 50, "stream": True, "stream_options": {"include_usage": True}}


def test_a_route_as_releases_have_it_is_spliced_its_prompt_and_its_limit_included():
    route = replace(PROMPTED, decoding={"temperature": 0.1})
    built, spliced = of(route, orjson.dumps(LONG))

    assert spliced is not None
    asked = asking_usage(spliced, LONG)
    assert asked is not None
    assert orjson.loads(asked) == built == {**LONG, "model": "m", "temperature": 0.1, "messages": [*PROMPT, *HI]}


def test_the_limit_is_told_where_the_caller_tells_none():
    built, spliced = of(ChatRoute("http://127.0.0.1:1/v1", "m", limits=RouteLimits(max_output_tokens=5)), PLAIN)

    assert spliced is not None
    assert orjson.loads(spliced) == built == {"model": "m", "messages": HI, "max_tokens": 5}


@pytest.mark.parametrize(
    "more",
    [{"max_tokens": 51}, {"max_completion_tokens": 5}, {"seed": None}, {"x": [{"messages": [1]}]}],
    ids=["above the limit", "another limit", "null", "messages twice"],
)
def test_what_changes_more_is_not_spliced(more):
    assert of(PROMPTED, PLAIN)[1] is not None
    assert of(PROMPTED, orjson.dumps({"model": "chat", "messages": HI, **more}))[1] is None


@pytest.mark.parametrize("wishes", [{"include_usage": False}, {}, None], ids=str)
def test_other_wishes_for_a_stream_are_not_spliced(wishes):
    assert asking_usage(b'{"a":1}', {"stream_options": wishes} if wishes is not None else {}) == (
        None if wishes is not None else b'{"a":1,"stream_options":{"include_usage":true}}'
    )
