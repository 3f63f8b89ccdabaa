from typing import Any

import pytest

from shipway.gateway.ports import ChatRoute
from shipway.services.route_plans import needed_aliases, route_plan

MODELS = {"primary": {}, "lowlat": {}, "small": {}}
TARGETS = {alias: ChatRoute(f"http://{alias}/v1", alias) for alias in MODELS}


def plan(routing: dict[str, Any], route: str = "chat", **targets: Any) -> Any:
    return route_plan(routing, route, "small", targets=targets or TARGETS, prompts={})


@pytest.mark.parametrize(
    ("routing", "needed"),
    [
        ({}, {"small"}),
        ({"default": "lowlat"}, {"lowlat"}),
        ({"rules": [{"route": "other", "to": "primary"}]}, {"small"}),
        ({"rules": [{"tenant": "a", "to": "primary"}]}, {"small", "primary"}),
        ({"rules": [{"tenant": "a", "prompt": "p"}], "default": "lowlat"}, {"small", "lowlat"}),
        ({"default": "mixed", "splits": {"mixed": {"primary": 1, "lowlat": 1}}}, {"primary", "lowlat"}),
        ({"fallbacks": {"small": ["lowlat"], "lowlat": ["primary"]}}, {"small", "lowlat", "primary"}),
        ({"escalate": {"small": {"to": "primary"}}}, {"small", "primary"}),
    ],
)
def test_a_route_needs_the_models_that_its_rules_can_reach_and_no_other(routing, needed):
    split_default = "mixed" in str(routing.get("default"))
    found = needed_aliases(routing, "chat", "small", MODELS)
    assert found - ({"small"} if split_default else set()) == needed


def test_a_route_whose_rules_give_one_answer_is_fixed():
    found = plan({"rules": [{"route": "chat", "to": "primary"}]})
    assert (found.own, found.is_fixed) == ("primary", True)


@pytest.mark.parametrize(
    "routing",
    [
        {"rules": [{"tenant": "a", "to": "primary"}]},
        {"fallbacks": {"small": ["primary"]}},
        {"escalate": {"small": {"to": "primary", "above": 0.5, "logprobs": True}}},
    ],
)
def test_a_route_with_something_to_decide_is_not_fixed(routing):
    assert not plan(routing).is_fixed


def test_a_route_with_replicas_is_not_fixed():
    replicated = ChatRoute("http://a/v1", "small", replicas=("http://a/v1", "http://b/v1"))
    assert not plan({}, small=replicated).is_fixed


def test_an_escalation_to_a_model_that_is_not_there_is_left_out():
    found = plan({"escalate": {"small": {"to": "primary", "above": 0.5, "logprobs": True}}}, small=TARGETS["small"])
    assert found.escalate == {}
