"""Whatever can change an answer changes its key; above all the tenant."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shipway.gateway.cache_key import LEFT_OUT, Scope, exact_key, is_deterministic, semantic_scope
from shipway.gateway.cache_model import Form

SCOPE = Scope("acme", "rel_a", "chat", "chat/completions", "http://127.0.0.1:1/v1", ("staff",))
BODY = {
    "model": "tiny",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
    "temperature": 0,
    "max_tokens": 64,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_two_tenants_never_share_an_answer():
    assert exact_key(SCOPE, BODY, Form.WHOLE) != exact_key(replace(SCOPE, tenant="other"), BODY, Form.WHOLE)


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_no_two_pairs_of_tenant_and_route_meet_in_one_key(tenant, route, other_tenant, other_route):
    assume((tenant, route) != (other_tenant, other_route))
    one = exact_key(replace(SCOPE, tenant=tenant, route=route), BODY, Form.WHOLE)
    other = exact_key(replace(SCOPE, tenant=other_tenant, route=other_route), BODY, Form.WHOLE)

    assert one != other


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"release": "rel_b"},
        {"route": "chat2"},
        {"surface": "completions"},
        {"engine": "http://127.0.0.1:2/v1"},
        {"groups": ("staff", "finance")},
        {"groups": ()},
    ],
)
def test_every_part_of_the_scope_is_in_the_key(change):
    assert exact_key(SCOPE, BODY, Form.WHOLE) != exact_key(replace(SCOPE, **change), BODY, Form.WHOLE)


@pytest.mark.parametrize("form", [Form.STREAM, Form.STREAM_WITH_USAGE])
def test_each_form_is_an_entry_of_its_own(form):
    assert exact_key(SCOPE, BODY, Form.WHOLE) != exact_key(SCOPE, BODY, form)


@given(st.text(max_size=10), json_values)
def test_any_field_that_is_added_changes_the_key_unless_it_is_named_as_left_out(name, value):
    assume(BODY.get(name, object()) != value or isinstance(value, bool))
    changed = {**BODY, name: value}
    assume(repr(changed.get(name)) != repr(BODY.get(name, object())))

    same = exact_key(SCOPE, changed, Form.WHOLE) == exact_key(SCOPE, BODY, Form.WHOLE)

    assert same == (name in LEFT_OUT)


@given(json_values, json_values)
def test_two_values_of_a_deciding_field_give_two_keys(one, other):
    assume(repr(one) != repr(other))
    assume(one != other)
    first = exact_key(SCOPE, {**BODY, "response_format": one}, Form.WHOLE)
    second = exact_key(SCOPE, {**BODY, "response_format": other}, Form.WHOLE)

    assert first != second


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_what_does_not_decide_the_answer_is_left_out(name):
    assert exact_key(SCOPE, {**BODY, name: {"x": 1}}, Form.WHOLE) == exact_key(SCOPE, BODY, Form.WHOLE)


def test_the_order_of_fields_does_not_matter_but_that_of_messages_does():
    turned = dict(reversed(BODY.items()))
    assert exact_key(SCOPE, turned, Form.WHOLE) == exact_key(SCOPE, BODY, Form.WHOLE)
    reordered = {**BODY, "messages": BODY["messages"][::-1]}
    assert exact_key(SCOPE, reordered, Form.WHOLE) != exact_key(SCOPE, BODY, Form.WHOLE)


def test_the_order_of_groups_does_not_matter():
    one = replace(SCOPE, groups=("a", "b"))
    assert exact_key(one, BODY, Form.WHOLE) == exact_key(replace(SCOPE, groups=("b", "a")), BODY, Form.WHOLE)


def test_what_cannot_be_written_has_no_key():
    deep = []
    for _ in range(600):
        deep = [deep]
    assert exact_key(SCOPE, {**BODY, "x": deep}, Form.WHOLE) is None


@pytest.mark.parametrize(
    ("body", "surface", "expected"),
    [
        ({"temperature": 0}, "", True),
        ({"temperature": 0.0}, "", True),
        ({"temperature": False}, "", False),
        ({"temperature": 0.7}, "", False),
        ({"temperature": 0.7, "seed": 7}, "", True),
        ({"seed": 0}, "", True),
        ({"seed": None}, "", False),
        ({}, "", False),
        ({}, "embeddings", True),
    ],
)
def test_only_what_would_be_answered_alike_again_is_deterministic(body, surface, expected):
    assert is_deterministic(body, surface=surface) is expected


def test_the_semantic_scope_holds_all_but_the_last_question():
    key, question = semantic_scope(SCOPE, BODY, Form.WHOLE)
    other = {**BODY, "messages": [BODY["messages"][0], {"role": "user", "content": "Hello"}]}

    assert question == "Hi"
    assert semantic_scope(SCOPE, other, Form.WHOLE) == (key, "Hello")


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Hi"}],
        [{"role": "user", "content": "Hi"}],
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi", "name": "ann"}],
    ],
)
def test_another_prompt_or_history_is_another_semantic_scope(messages):
    assert (
        semantic_scope(SCOPE, {**BODY, "messages": messages}, Form.WHOLE)[0]
        != semantic_scope(SCOPE, BODY, Form.WHOLE)[0]
    )


def test_another_tenant_is_another_semantic_scope():
    other = replace(SCOPE, tenant="other")
    assert semantic_scope(other, BODY, Form.WHOLE)[0] != semantic_scope(SCOPE, BODY, Form.WHOLE)[0]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        "Hi",
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
        [{"role": "user", "content": "  "}],
        [{"role": "user", "content": "x" * 801}],
    ],
)
def test_a_question_that_cannot_be_compared_has_no_semantic_scope(messages):
    assert semantic_scope(SCOPE, {**BODY, "messages": messages}, Form.WHOLE) is None
