"""Services that are hardly ever bad are promoted by the candidate's own conversations, and no others."""

import random
from dataclasses import replace

import pytest
from tests.served import served_request

from shipway.core.ports import StoredRecord
from shipway.core.verdicts import Verdict
from shipway.rollouts.analysis import judge
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.folding import fold
from shipway.rollouts.model import Code, Rollout, RolloutState
from shipway.rollouts.plan import Plan, Step

# The plan of the example application.
DEMO = Plan(
    steps=(Step(0.1, 30, 5.0), Step(0.5, 60, 5.0), Step(1.0, 10, 3.0)), events=("error", "timeout", "unsupported")
)


@pytest.mark.anyio
async def test_a_service_without_bad_events_is_promoted_after_about_eighty_conversations_of_the_candidate(
    make_world, make_plan
):
    world = make_world(make_plan(), seed=3, rates=(0.0, 0.0))
    await world.start()
    controller = world.controller()
    while (await world.row()).state not in {RolloutState.PROMOTING, RolloutState.COMPLETED}:
        await world.round(controller, conversations=10)
        assert world.conversations < 400, (await world.row()).reason
    row = await world.row()
    assert (row.verdict, row.code) == (Verdict.PASS, Code.ENOUGH)
    assert 79 <= row.evidence.outcomes.good <= 95
    assert row.evidence.total().bad == 0
    done = await world.run(controller, conversations=10)
    assert done.state is RolloutState.COMPLETED
    assert Rollout.from_dict(row.to_dict()) == row


@pytest.mark.anyio
async def test_without_the_absolute_way_the_same_service_waits(make_world, make_plan):
    world = make_world(make_plan(harmless_rate=None), seed=3, rates=(0.0, 0.0))
    await world.start()
    row = await world.run(world.controller(), conversations=20, rounds=40)
    assert (row.state, row.step) == (RolloutState.PROGRESSING, 1)


def looks(plan, rates, seed, *, count=40):
    """Yield the judgement of a step at 50 % after every ten conversations."""
    chance = random.Random(seed)
    evidence = CanaryEvidence.start(harm_ratio=plan.harm_ratio)
    for look in range(count):
        batch = []
        for number in range(10 * look + 1, 10 * look + 11):
            candidate = chance.random() < 0.5
            events = ("unsupported",) if chance.random() < rates[candidate] else ()
            request = served_request(f"c{number}", is_candidate=candidate, events=events)
            batch.append(StoredRecord(number, request))
        evidence = fold(evidence, batch, rollout="ro", bad_events=plan.events)
        yield judge(evidence, plan, 1, elapsed_s=1e9)


def test_a_candidate_at_the_edge_of_both_nulls_is_promoted_in_at_most_promote_alpha_of_rollouts():
    # Harm is not looked for (alpha is tiny), so that nothing but the proof stands between it and everybody.
    plan = replace(DEMO, alpha=1e-12)
    rates = (0.05 / 3.0, 0.05)
    wrong = sum(any(found.verdict is Verdict.PASS for found in looks(plan, rates, seed)) for seed in range(150))
    # promote_alpha = 5 % of 150 is 7.5; 15 is its 99.7 % upper bound.
    assert wrong <= 15


@pytest.mark.parametrize("rate", [0.2, 0.25])
def test_an_app_that_is_often_bad_is_never_promoted_by_the_absolute_way(rate):
    for seed in range(30):
        assert max(found.harmless_e for found in looks(DEMO, (rate, rate), seed)) < 20.0


def test_a_candidate_found_harmful_is_rolled_back_though_few_of_its_conversations_are_bad():
    plan = replace(DEMO, harmless_rate=0.5)
    verdicts = []
    for found in looks(plan, (0.0, 0.15), seed=1):
        verdicts.append(found.verdict)
        if found.harm_e >= found.readings[0].needed:
            assert (found.verdict, found.code, found.harmless_e) == (Verdict.FAIL, Code.HARM, 0.0)
    assert Verdict.FAIL in verdicts
