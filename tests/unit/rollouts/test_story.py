"""What `rollout explain` prints is what the evidence says, in every state."""

from dataclasses import replace

import pytest

from shipway.core.verdicts import Verdict
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.controller import judged
from shipway.rollouts.curve import Curve
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Step
from shipway.rollouts.story import plot, story, waiting

pytestmark = pytest.mark.anyio


async def told(world):
    row, now_s = await world.row(), world.clock.now_s()
    return "\n".join(story(row, judged(row, now_s), now_s))


async def test_a_rollout_is_explained_from_before_its_first_step_to_its_end(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    before = await told(world)
    assert "rel_candidate is about to be started" in before
    assert "rolls back by itself):\n  nothing has been counted so far\n" in before
    controller = world.controller()
    for _ in range(6):
        await world.round(controller, conversations=30)
    text = await told(world)
    row = await world.row()
    total = row.evidence.total()
    bad = f"bad conversations {total.candidate.bad} of {total.candidate.conversations} on the candidate"
    assert bad in text
    assert f"step {row.step + 1} of 3" in text
    assert "not judged" in text
    assert "fixed rules:" in text
    await world.command(CommandKind.PAUSE, "looking at a complaint")
    await world.round(controller)
    assert "paused (user): looking at a complaint" in await told(world)
    await world.command(CommandKind.ABORT, "enough seen")
    await world.run(controller)
    assert "decided: enough seen" in await told(world)
    assert (await world.row()).state is RolloutState.ROLLED_BACK


def test_the_plot_marks_harm_over_its_limit_at_the_end(make_plan):
    curve = Curve(tuple((float(n), 2.0**n, 0.5**n) for n in range(11)))
    lines = plot(curve, replace(make_plan(), alpha=0.01, promote_alpha=0.05))
    drawn = [line for line in lines if "|" in line]
    assert len({len(line.split("|")[0]) for line in drawn}) == 1
    assert drawn[0].rstrip().endswith("*")
    assert drawn[-1].rstrip().endswith("o")
    assert any(line.split("|")[1].count("-") > 10 for line in drawn)


@pytest.mark.parametrize("points", [(), ((1.0, 1.0, 1.0),), ((1.0, 1.0, 1.0), (1.0, 2.0, 1.0))])
def test_too_little_to_draw_is_said(make_plan, points):
    assert plot(Curve(points), make_plan()) == ["no curve yet: it takes two looks at new records"]


def test_vanishing_and_huge_evidence_is_drawn(make_plan):
    curve = Curve(((0.0, 0.0, 1e-300), (1.0, 1e300, 0.0)))
    assert any("*" in line for line in plot(curve, make_plan()))


async def test_what_a_rollout_waits_for_is_named(make_world, make_plan):
    steps = (Step(0.1, 20, 2.0, windows=("Mon-Fri 09:00-17:00",)), Step(1.0, 0, 1.0))
    world = make_world(make_plan(steps=steps))
    world.target.healthy_releases = {"rel_stable"}
    await world.start()
    controller = world.controller()

    async def waits():
        row, now_s = await world.row(), world.clock.now_s()
        return waiting(row, judged(row, now_s), now_s)

    await world.round(controller)
    assert "begins in Mon-Fri 09:00-17:00 (UTC); next: Mon" in await waits()
    world.clock.advance(24 * 3600.0)
    await world.round(controller)
    assert "rel_candidate has to be healthy" in await waits()
    world.target.healthy_releases = {"rel_stable", "rel_candidate"}
    for _ in range(3):
        await world.round(controller)
    assert "no conversation at 10% yet" in await waits()
    await world.command(CommandKind.PAUSE)
    await world.round(controller)
    assert await waits() == ""


ENOUGH = Judgement(Verdict.PASS, Code.ENOUGH, ("139 conversations at 100% are enough and show no harm",))


@pytest.mark.parametrize("strategy", ["flag", "canary"])
async def test_at_the_last_step_a_flag_says_that_it_waits_for_a_person(make_world, make_plan, strategy):
    world = make_world(make_plan(strategy=strategy))
    row = await world.start()
    last = replace(row, state=RolloutState.PROGRESSING, step=len(row.plan.steps) - 1)
    said = waiting(last, ENOUGH, world.clock.now_s())
    assert ("`shipway rollout promote ro_1` gives it to everybody" in said) is (strategy == "flag")


@pytest.mark.parametrize("asked", [True, False])
async def test_smoke_checks_are_waited_for_only_where_there_are_some(make_world, make_plan, asked):
    world = make_world(make_plan(steps=(Step(0.5, smoke=asked), Step(1.0))))
    row = await world.start()
    started = replace(row, times=replace(row.times, services_s=0.0))
    assert ("smoke checks" in waiting(started, ENOUGH, world.clock.now_s())) is asked
