from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.complexity import complexity
from shipway.gateway.routing import Facts, RoutingTable, compile_chains, compile_route, compile_split
from shipway.gateway.uncertainty import uncertainty

MODELS = ("primary", "lowlat", "small")


def facts(text: str = "hello", *, flags: dict[str, Any] | None = None, **more: Any) -> Facts:
    headers = more.pop("headers", {})
    return Facts(
        **{
            "route": "chat",
            "chars": len(text),
            "tenant": "acme",
            "conversation": "c1",
            "header": headers.get,
            "text": lambda: text,
            "flag": lambda name, _context: (flags or {}).get(name),
            **more,
        }
    )


def table(rules: list[dict[str, Any]], **routing: Any) -> RoutingTable:
    found = compile_route({"rules": rules, **routing}, "chat", "small", MODELS)
    assert isinstance(found, RoutingTable)
    return found


def test_the_documented_aliases_need_no_decision_for_each_request():
    routing = {
        "default": "small",
        "rules": [{"route": "rag_long", "to": "primary"}, {"route": ["chat_short"], "to": "lowlat"}],
    }
    chosen = [compile_route(routing, route, "small", MODELS) for route in ("rag_long", "chat_short", "other")]
    assert chosen == ["primary", "lowlat", "small"]


def test_the_first_rule_that_matches_decides():
    found = table([{"min_chars": 100, "to": "primary"}, {"tenant": "acme", "to": "lowlat"}])
    assert found.choose(facts("x" * 100)).alias == "primary"
    assert found.choose(facts("x")).alias == "lowlat"
    chosen = found.choose(facts("x", tenant="other"))
    assert (chosen.alias, chosen.rule) == ("small", "default")


@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        ({"min_tokens": 3}, facts("x" * 9), facts("x" * 8)),
        ({"max_tokens": 2}, facts("x" * 8), facts("x" * 9)),
        ({"max_chars": 5}, facts("x" * 5), facts("x" * 6)),
        ({"header": {"x-tier": "gold"}}, facts(headers={"x-tier": "gold"}), facts(headers={"x-tier": "silver"})),
        ({"tenant": ["a", "b"]}, facts(tenant="b"), facts(tenant="c")),
        ({"flag": "new"}, facts(flags={"new": True}), facts(flags={"new": False})),
        ({"flag": "new"}, facts(flags={"new": True}), facts()),
        ({"min_complexity": 0.3}, facts("Explain why " + "this matters " * 60), facts("hi")),
    ],
)
def test_each_condition_tells_its_requests_apart(rule, matching, other):
    found = table([{**rule, "to": "primary"}])
    assert found.choose(matching).alias == "primary"
    assert found.choose(other).alias == "small"


@pytest.mark.parametrize(
    ("value", "chosen"),
    [
        ("primary", ("primary", None)),
        ({"model": "lowlat", "prompt": "short"}, ("lowlat", "short")),
        ({"prompt": "short"}, ("small", "short")),
        ("nobody", ("small", None)),
        (True, ("small", None)),
        (None, ("small", None)),
        ({"model": 3}, ("small", None)),
    ],
)
def test_a_flags_value_names_model_and_prompt_and_an_unknown_one_does_not_match(value, chosen):
    found = table([{"flag": "which"}]).choose(facts(flags={"which": value}))
    assert (found.alias, found.prompt) == chosen


def test_complexity_is_computed_once_and_only_when_a_rule_gets_that_far():
    asked: list[int] = []
    fact = replace(facts("x"), text=lambda: "x" * 500 + str(asked.append(1)))
    found = table([{"max_chars": 5, "to": "lowlat"}, {"min_complexity": 0.9, "to": "primary"}])
    assert found.choose(fact).alias == "lowlat"
    assert asked == []
    later = table([{"max_complexity": 0.0001, "to": "lowlat"}, {"min_complexity": 0.9, "to": "primary"}])
    later.choose(fact)
    assert len(asked) == 1


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 100), min_size=1))
def test_a_split_reaches_every_place_and_is_sticky(weights):
    split = compile_split("mixed", weights)
    for conversation in ("a", "b", "c"):
        assert split.pick(conversation) in weights
        assert split.pick(conversation) == split.pick(conversation)


def test_a_splits_shares_converge_to_their_weights():
    split = compile_split("mixed", {"primary": 90.0, "lowlat": 10.0})
    seen = Counter(split.pick(f"conversation-{n}") for n in range(20_000))
    assert 0.09 < seen["lowlat"] / 20_000 < 0.11


def test_a_chain_holds_everybody_once_and_own_fallbacks_first():
    chains = compile_chains({"a": ["b", "c"], "b": ["d"], "c": ["d"]}, "abcd")
    assert chains == {"a": ("a", "b", "c", "d"), "b": ("b", "d"), "c": ("c", "d"), "d": ("d",)}


@given(st.text(max_size=5000))
def test_complexity_is_a_share(text):
    assert 0.0 <= complexity(text) <= 1.0


def test_a_hard_question_is_more_complex_than_a_greeting():
    hard = "Explain step by step why the following function deadlocks:\n```python\ndef f(): ...\n```\n" * 5
    assert complexity("hi there") < 0.1
    assert complexity(hard) > 0.4


def chat(content: Any, logprobs: list[Any] | None = None, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "logprobs": {"content": logprobs}}]}


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (chat("yes", [{"logprob": 0.0}, {"logprob": 0.0}]), 0.0),
        (chat("yes", [{"logprob": -0.6931471805599453}] * 3), 0.5),
        (chat("yes"), 0.0),
        (chat(""), 1.0),
        (chat("I'm sorry, but I cannot help with that."), 1.0),
        (chat("I don\u2019t know."), 1.0),
        (chat("x", refusal="no"), 1.0),
        (chat(None, tool_calls=[{"id": "1"}]), 0.0),
        ({}, 1.0),
        ({"choices": ["?"]}, 1.0),
    ],
)
def test_uncertainty_is_what_its_definition_says(reply, value):
    assert uncertainty(reply) == pytest.approx(value)


def test_a_close_runner_up_adds_uncertainty():
    alone = [{"logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -5.0}]}]
    close = [{"logprob": -0.69, "top_logprobs": [{"logprob": -0.69}, {"logprob": -0.70}]}]
    assert uncertainty(chat("x", close)) > 0.7
    assert uncertainty(chat("x", alone)) < 0.2


@given(st.lists(st.floats(-1e4, 0.0), min_size=1, max_size=50))
def test_uncertainty_is_a_share_and_falls_with_probability(logprobs):
    found = uncertainty(chat("x", [{"logprob": value} for value in logprobs]))
    surer = uncertainty(chat("x", [{"logprob": value / 2} for value in logprobs]))
    assert 0.0 <= surer <= found <= 1.0
