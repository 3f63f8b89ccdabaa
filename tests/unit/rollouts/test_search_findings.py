"""What the search through all states has found, each as a story of its own."""

import contextlib

import anyio
import pytest

from shipway.core.errors import FencedError
from shipway.core.verdicts import Verdict
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Step
from shipway.rollouts.strategies import StrategyOptions, with_strategy

pytestmark = pytest.mark.anyio
STABLE, CANDIDATE = "rel_stable", "rel_candidate"


@pytest.fixture(name="swap")
def swap_fixture(make_plan):
    def swap(**options):
        return with_strategy(make_plan(start_timeout_s=20.0), "swap", StrategyOptions(bake_s=3.0, **options))

    return swap


async def step_of(world, controller, action):
    """Give rounds until the trail has an action."""
    for _ in range(20):
        await world.round(controller)
        if action in world.actions():
            return
    raise AssertionError(world.actions())


@pytest.fixture(name="died")
def died_fixture(make_world, make_fault, crash):
    async def died(plan, where):
        """Return the first world in which the controller died after a write and a condition holds."""
        for at in range(1, 80):
            world = make_world(plan)
            await world.start()
            controller = world.controller("a", make_fault(at=at, after=True))
            with contextlib.suppress(crash):
                for _ in range(20):
                    await world.round(controller)
            if where(world, await world.row()):
                world.clock.advance(11.0)
                return world
        raise AssertionError("it never died there")

    return died


async def test_a_candidate_that_turned_ill_after_the_decision_gets_no_users(died, make_plan):
    plan = make_plan(unhealthy_s=5.0)
    world = await died(plan, lambda world, row: row.step == 0 and world.snapshots.now.route("ask").candidate is None)
    world.target.healthy_releases = {STABLE}
    row = await world.run(world.controller("b"), rounds=12)
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.UNHEALTHY)
    assert {snapshot.route("ask").candidate_weight for snapshot in world.snapshots.writes} == {0.0}


async def test_an_ill_candidate_does_not_keep_its_users_because_its_promotion_is_wanted(make_world, make_plan):
    world = make_world(make_plan(unhealthy_s=5.0))
    await world.start()
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    assert world.weight() == 0.1
    world.target.healthy_releases = {STABLE}
    await world.command(CommandKind.PROMOTE)
    row = await world.run(controller, rounds=12)
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.UNHEALTHY)


async def test_a_candidate_that_is_ill_is_not_made_stable_for_good(make_world, make_plan):
    world = make_world(make_plan(unhealthy_s=5.0))
    await world.start()
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    await world.command(CommandKind.PROMOTE)
    world.clock.advance(1.0)
    await controller.tick()
    world.target.healthy_releases = {STABLE}
    row = await world.run(controller, rounds=12)
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.UNHEALTHY)
    assert world.labels.stable == world.snapshots.now.route("ask").stable == STABLE


@pytest.mark.parametrize("paused", [False, True])
async def test_promoting_a_swap_that_has_not_begun_makes_room_once(make_world, swap, paused):
    world = make_world(swap())
    await world.start()
    controller = world.controller()
    if paused:
        await world.command(CommandKind.PAUSE)
        await world.apply()
        await controller.tick()
    await world.command(CommandKind.PROMOTE)
    row = await world.run(controller)
    assert row.state is RolloutState.COMPLETED
    assert world.actions().count("parked") == 1
    assert world.target.running == {CANDIDATE}


async def test_pausing_a_swap_waits_until_no_request_waits(make_world, swap):
    world = make_world(swap())
    await world.start()
    controller = world.controller()
    await step_of(world, controller, "parked")
    await world.command(CommandKind.PAUSE)
    for _ in range(12):
        await world.round(controller)
    row = await world.row()
    assert (row.state, row.code, row.step) == (RolloutState.PAUSED, Code.USER, 0)
    assert not world.snapshots.now.route("ask").parked
    assert world.weight() == 1.0


async def test_a_swap_whose_smoke_checks_cannot_be_done_goes_back_while_users_wait(make_world, swap):
    world = make_world(swap(smoke=True))
    world.checks.results["smoke"] = CheckResult(Verdict.ERROR, "no engine")
    await world.start()
    row = await world.run(world.controller())
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.SMOKE)
    assert world.target.running == {STABLE}
    assert not world.snapshots.now.route("ask").parked


async def test_a_swap_that_has_begun_waits_for_no_time_of_the_week(make_world, make_plan):
    # The world's clock begins on a Sunday in June 2025, at 15:06:40.
    everybody = Step(1.0, min_bake_s=3.0, prove=False, traffic=False, windows=("Sun 15:00-15:07",))
    world = make_world(with_strategy(make_plan(), "swap", StrategyOptions(steps=(everybody,))))
    await world.start()
    controller = world.controller()
    world.target.healthy_releases = {STABLE}
    await step_of(world, controller, "displaced")
    world.clock.advance(8.0)
    world.target.healthy_releases = {STABLE, CANDIDATE}
    world.clock.advance(60.0)
    row = await world.run(controller, rounds=12)
    assert row.state is RolloutState.COMPLETED


async def test_after_a_swap_a_silent_control_sends_nobody_to_the_release_that_was_stopped(make_world, swap):
    world = make_world(swap())
    await world.start()
    controller = world.controller()
    await step_of(world, controller, "advanced")
    await world.round(controller)
    assert world.weight() == 1.0
    # A worker falls back on stable after this time; stable does not run.
    assert world.snapshots.now.dead_man_s > 1e6
    await world.run(controller)
    later = make_world(swap())
    assert later.snapshots.now.dead_man_s < 1e6


async def test_requests_that_waited_again_are_let_go_when_a_rollback_ends(died, swap):
    def is_stopped_unwritten(world, row):
        return STABLE not in world.target.running and row.times.displaced_s is None

    world = await died(swap(), is_stopped_unwritten)
    controller = world.controller("b")
    await world.command(CommandKind.ABORT)
    for ill in ({STABLE}, set(), {STABLE}, set(), {STABLE}):
        world.target.healthy_releases = {STABLE} - ill
        await world.round(controller)
    world.target.healthy_releases = {STABLE, CANDIDATE}
    row = await world.run(controller, rounds=20)
    assert row.state is RolloutState.ROLLED_BACK
    assert not world.snapshots.now.route("ask").parked


async def test_a_leader_that_sleeps_before_stopping_stable_does_not_leave_it_stopped(make_world, swap):
    world = make_world(swap())
    await world.start()
    sleeper, heir = world.controller("a"), world.controller("b")
    reached, wake = anyio.Event(), anyio.Event()
    inner, fences = world.target.stop, []

    async def sleep_first(release, *, fence):
        if release == STABLE and not reached.is_set():
            fences.append(fence)
            reached.set()
            await wake.wait()
        await inner(release, fence=fence)

    world.target.stop = sleep_first

    async def lead():
        for _ in range(10):
            await world.round(sleeper)

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await reached.wait()
        world.clock.advance(11.0)
        await world.command(CommandKind.ABORT)
        assert (await world.run(heir)).state is RolloutState.ROLLED_BACK
        group.cancel_scope.cancel()
    with pytest.raises(FencedError):
        await inner(STABLE, fence=fences[0])
    for _ in range(6):
        await world.round(heir)
    assert (await world.row()).settled
    assert world.target.running == {STABLE}


async def test_a_candidate_without_users_that_stays_ill_is_not_waited_for_longer_than_planned(make_world, make_plan):
    options = StrategyOptions(bake_s=2.0, approval=True)
    world = make_world(with_strategy(make_plan(deadline_s=30.0), "blue-green", options))
    await world.start()
    controller = world.controller()
    await step_of(world, controller, "paused")
    world.target.healthy_releases = {STABLE}
    await world.command(CommandKind.APPROVE)
    for _ in range(40):
        await world.round(controller)
    row = await world.row()
    assert (row.state, row.code, world.weight()) == (RolloutState.PAUSED, Code.EXPIRED, 0.0)
    assert "not healthy" in row.reason
    world.target.healthy_releases = {STABLE, CANDIDATE}
    await world.command(CommandKind.RESUME)
    assert (await world.run(controller)).state is RolloutState.COMPLETED
