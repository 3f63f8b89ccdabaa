"""After the promotion: the watch raises an alarm, proposes or goes back, and ends when the environment has gone on."""

from dataclasses import replace

import pytest

from shipway.rollouts.model import Code, RolloutState
from shipway.rollouts.watch import WatchPlan

pytestmark = pytest.mark.anyio
LONG = WatchPlan(for_s=500.0, mean_run=1000.0)


async def promoted(world):
    await world.start()
    controller = world.controller()
    row = await world.run(controller, conversations=40)
    assert row.state is RolloutState.COMPLETED
    return controller


async def test_a_release_that_turns_bad_after_its_promotion_is_reported_and_left_to_a_person(make_world, make_plan):
    world = make_world(make_plan(watch=LONG))
    controller = await promoted(world)
    world.rates = (0.9, 0.9)
    for _ in range(15):
        await world.round(controller, conversations=30)
    row = await world.row()
    assert (row.state, row.code, row.watch) == (RolloutState.COMPLETED, Code.WATCH, None)
    assert "shipway rollback" in row.reason
    assert "rollback_proposed" in world.actions()
    assert row.settled
    assert world.snapshots.now.route("ask").stable == "rel_candidate"


async def test_it_goes_back_by_itself_when_the_plan_says_so_and_stable_is_healthy_first(make_world, make_plan):
    world = make_world(make_plan(watch=replace(LONG, action="rollback")))
    controller = await promoted(world)
    for _ in range(5):
        await world.round(controller)
    assert world.target.running == {"rel_candidate"}
    world.rates = (0.9, 0.9)
    for _ in range(25):
        await world.round(controller, conversations=30)
        route = world.snapshots.now.route("ask")
        assert route.stable in world.target.running
    row = await world.row()
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.WATCH)
    assert world.labels.stable == "rel_stable"
    assert world.target.running == {"rel_stable"}


async def test_a_release_that_stays_as_it_was_is_left_alone(make_world, make_plan):
    world = make_world(make_plan(watch=replace(LONG, for_s=30.0, action="rollback")))
    controller = await promoted(world)
    for _ in range(40):
        await world.round(controller, conversations=30)
    row = await world.row()
    assert (row.state, row.watch, row.settled) == (RolloutState.COMPLETED, None, True)
    assert "watch_ended" in world.actions()


async def test_what_others_put_there_meanwhile_is_never_undone(make_world, make_plan):
    world = make_world(make_plan(watch=replace(LONG, action="rollback")))
    controller = await promoted(world)
    now = world.snapshots.now
    other = replace(now.route("ask"), stable="rel_hotfix")
    await world.snapshots.write(replace(now, routes=(other, *now.routes[1:])), expected_version=now.version)
    world.rates = (0.9, 0.9)
    for _ in range(10):
        await world.round(controller, conversations=30)
    row = await world.row()
    assert (row.state, row.watch) == (RolloutState.COMPLETED, None)
    assert world.snapshots.now.route("ask").stable == "rel_hotfix"
