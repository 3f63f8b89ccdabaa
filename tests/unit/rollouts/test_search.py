"""Every state that a small rollout can get into, looked at one by one.

Some families of events at a time; SHIPWAY_SEARCH=all takes more of them together, for a quarter of an hour.
"""

import os
from dataclasses import replace

import pytest
from tests.unit.rollouts.abstract import replaced
from tests.unit.rollouts.search import Search

from shipway.rollouts.model import RolloutState
from shipway.rollouts.plan import Plan, Step
from shipway.rollouts.plan_check import problems
from shipway.rollouts.strategies import StrategyOptions, with_strategy
from shipway.rollouts.watch import WatchPlan

WATCHED = WatchPlan(action="rollback")
LIMITS = Plan(drain_s=1.0, dead_man_s=1.0, start_timeout_s=1.0, unhealthy_s=1.0, watch=WATCHED)
TWO_STEPS = (Step(0.5), Step(1.0))
OPTIONS = {
    "canary": StrategyOptions(steps=TWO_STEPS),
    "blue-green": StrategyOptions(smoke=True, keep_s=1.0),
    "shadow": StrategyOptions(),
    "rolling": StrategyOptions(batches=2, approval=True),
    "flag": StrategyOptions(steps=(Step(0.5),)),
    "swap": StrategyOptions(smoke=True),
}
CHANGES = {"shadow": {"ask_to_promote": True}, "flag": {"on_harm": "freeze"}}
ENDS = {
    "swap": {RolloutState.COMPLETED, RolloutState.ROLLED_BACK},
}
# The number of states says that nothing was left out: a change of the machine changes it, and is then looked at.
COUNTED = [
    ("canary", "commands", 4908),
    ("blue-green", "commands", 7056),
    ("shadow", "commands", 5220),
    ("rolling", "commands", 5924),
    ("flag", "commands", 3664),
    ("swap", "commands", 4960),
    ("swap", "leases", 8352),
    ("swap", "silence", 6104),
    ("blue-green", "foreign", 2088),
]
MORE = ("silence", "commands leases", "commands silence", "commands foreign", "leases silence foreign")
MOST = 400_000


def plan_of(strategy: str) -> Plan:
    plan = with_strategy(LIMITS, strategy, OPTIONS[strategy])
    return replace(plan, **CHANGES.get(strategy, {}))


@pytest.fixture(autouse=True)
def _abstract_world(monkeypatch):
    replaced(monkeypatch.setattr)


@pytest.mark.parametrize("strategy", OPTIONS)
def test_the_plans_that_are_searched_can_run(strategy):
    assert [text for text in problems(plan_of(strategy)) if "min_bake" not in text] == []


@pytest.mark.parametrize(("strategy", "kinds", "states"), COUNTED)
def test_no_state_sends_users_to_the_ill_or_has_no_way_out(strategy, kinds, states):
    found = Search(plan_of(strategy), frozenset(kinds.split())).run()
    assert found.faults == []
    assert found.ends == ENDS.get(strategy, {RolloutState.COMPLETED, RolloutState.ROLLED_BACK, RolloutState.FAILED})
    assert found.states == states


@pytest.mark.skipif(os.environ.get("SHIPWAY_SEARCH") != "all", reason="SHIPWAY_SEARCH=all takes a quarter of an hour")
@pytest.mark.parametrize("strategy", OPTIONS)
@pytest.mark.timeout(0)
def test_no_state_of_more_events_together_does_either(strategy):
    for kinds in MORE:
        found = Search(plan_of(strategy), frozenset(kinds.split()), most=MOST).run()
        assert found.faults == [], kinds
