"""Foreign changes, silence of the control plane, and who may write."""

from dataclasses import replace

import anyio
import pytest

from shipway.core.errors import ConflictError, FencedError
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Step
from shipway.rollouts.strategies import StrategyOptions, with_strategy

pytestmark = pytest.mark.anyio


async def test_a_foreign_change_pauses_and_is_never_fought(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await world.round(controller)
    foreign = replace(world.snapshots.now.route("ask"), candidate_weight=0.42)
    now = world.snapshots.now
    await world.snapshots.write(replace(now, routes=(foreign, *now.routes[1:])), expected_version=now.version)
    for _ in range(5):
        await world.round(controller, conversations=20)
    row = await world.row()
    assert (row.state, row.code) == (RolloutState.PAUSED, Code.FOREIGN)
    assert "0.42" in row.reason
    assert world.weight() == 0.42
    assert world.actions().count("foreign_change") == 1
    await world.command(CommandKind.RESUME)
    await world.round(controller)
    assert world.weight() == 0.1
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED


async def test_abort_after_a_foreign_change_removes_the_candidate_and_keeps_the_rest(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await world.round(controller)
    now = world.snapshots.now
    foreign = replace(now.route("ask"), stable="rel_hotfix", candidate_weight=0.9)
    await world.snapshots.write(replace(now, routes=(foreign, *now.routes[1:])), expected_version=now.version)
    await world.round(controller)
    await world.command(CommandKind.ABORT)
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK
    route = world.snapshots.now.route("ask")
    assert (route.stable, route.candidate, route.candidate_weight) == ("rel_hotfix", None, 0.0)


async def test_a_key_added_to_the_snapshot_is_no_foreign_change(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    controller = world.controller()
    await world.round(controller)
    now = world.snapshots.now
    await world.snapshots.write(replace(now, config_digest="sha256:new"), expected_version=now.version)
    done = await world.run(controller, conversations=40)
    assert done.state is RolloutState.COMPLETED
    assert world.snapshots.now.config_digest == "sha256:new"


async def test_workers_on_their_dead_man_get_the_confirmed_step_back(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    version = world.snapshots.now.version
    world.tripped = {"w1", "w2"}
    await world.round(controller)
    row = await world.row()
    assert world.actions()[-1] == "returned_from_dead_man"
    assert world.snapshots.now.version == version + 1
    assert (row.state, row.step, world.weight()) == (RolloutState.PROGRESSING, 0, 0.1)
    await world.round(controller)
    assert world.actions()[-1] == "returned_from_dead_man"
    world.tripped = set()
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED
    assert world.steps() == [0, 1, 2]


async def test_a_leader_that_was_stopped_for_too_long_says_so_and_bakes_the_step_afresh(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    world.clock.advance(60.0)
    # The workers went back to stable; with the leader's first beat they forgot, before it could look at them.
    await world.apply()
    assert await controller.tick()
    row = await world.row()
    returned = next(entry for entry in reversed(row.history) if entry.action == "rollout.returned_from_dead_man")
    assert returned.details == {"workers": ["w1", "w2"]}
    assert (row.state, row.step, row.times.step_s) == (RolloutState.PROGRESSING, 0, world.clock.now_s())
    await world.round(controller)
    assert world.actions().count("returned_from_dead_man") == 1


async def test_a_new_leader_after_a_silence_resumes_from_the_confirmed_step_and_bakes_it_afresh(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    first = world.controller("a")
    for _ in range(3):
        await world.round(first)
    world.clock.advance(60.0)
    world.tripped = {"w1", "w2"}
    await world.apply()
    second = world.controller("b")
    assert await second.tick()
    row = await world.row()
    taken_over = next(entry for entry in reversed(row.history) if entry.action == "rollout.taken_over")
    assert taken_over.details == {"epoch": 2, "dead_man": ["w1", "w2"]}
    assert (row.state, row.step, row.times.step_s) == (RolloutState.PROGRESSING, 0, world.clock.now_s())
    assert world.snapshots.now.epoch == 2


async def test_of_two_controllers_one_leads_and_the_other_waits(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    first, second = world.controller("a"), world.controller("b")
    for _ in range(30):
        assert await world.round(first, conversations=40)
        assert not await second.tick()
    assert (await world.row()).state is RolloutState.COMPLETED
    assert {snapshot.epoch for snapshot in world.snapshots.writes} == {1}


async def test_a_leader_that_wakes_up_after_its_lease_was_lost_writes_nothing(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    stalled, heir = world.controller("a"), world.controller("b")
    reached, wake = anyio.Event(), anyio.Event()
    inner = world.snapshots.write

    async def stall(snapshot, *, expected_version):
        if snapshot.epoch == 1 and not reached.is_set() and snapshot.route("ask").candidate:
            reached.set()
            await wake.wait()
        return await inner(snapshot, expected_version=expected_version)

    world.snapshots.write = stall
    results = []

    async def lead():
        results.append(await stalled.tick())

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await reached.wait()
        world.clock.advance(11.0)
        assert (await world.run(heir, conversations=40)).state is RolloutState.COMPLETED
        before = (world.snapshots.now, len(world.events), await world.row())
        wake.set()
    assert results == [False]
    assert (world.snapshots.now, len(world.events), await world.row()) == before


async def test_an_expired_lease_is_noticed_before_the_next_write(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await world.round(controller)
    world.clock.advance(11.0)
    with pytest.raises(FencedError, match="no longer holds"):
        await controller.reconcile(world.rollout_id)


async def test_a_store_that_is_away_does_not_end_the_loop(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    stop, calls = anyio.Event(), []
    inner = world.leases.acquire

    async def acquire(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise ConflictError("database is locked")
        stop.set()
        return await inner(*args, **kwargs)

    world.leases.acquire = acquire
    controller._timing = replace(controller._timing, interval_s=0.0)
    await controller.run(stop)
    assert len(calls) == 2
    assert (await world.leases.read("rollouts/production")).holder == ""


async def lead_until_woken(world, port, name, *, command=None):
    """Let a leader fall asleep before one act and an heir finish the rollout; return what ran before and after."""
    stalled, heir = world.controller("a"), world.controller("b")
    reached, wake = anyio.Event(), anyio.Event()
    inner = getattr(port, name)

    async def stall(*args, **named):
        if not reached.is_set():
            reached.set()
            await wake.wait()
        return await inner(*args, **named)

    setattr(port, name, stall)
    refused = []

    async def lead():
        while not reached.is_set():
            await world.apply()
            await world.serve(40)
            world.clock.advance(1.0)
            refused.append(not await stalled.tick())

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await reached.wait()
        world.clock.advance(11.0)
        if command is not None:
            await world.command(command)
        for _ in range(80):
            await world.round(heir, conversations=40)
        before = (set(world.target.running), world.labels.stable, await world.row())
        wake.set()
    assert refused[-1]
    return before, (set(world.target.running), world.labels.stable, await world.row())


async def test_a_former_leader_does_not_start_the_process_of_a_release_that_its_heir_stopped(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    before, after = await lead_until_woken(world, world.target, "start", command=CommandKind.ABORT)
    assert before == after
    assert after[0] == {"rel_stable"}
    assert after[2].settled


async def test_a_former_leader_does_not_stop_the_process_of_a_release_that_its_heir_needs(make_world, make_plan):
    world = make_world(with_strategy(make_plan(), "swap", StrategyOptions(bake_s=2.0)))
    await world.start()
    before, after = await lead_until_woken(world, world.target, "stop", command=CommandKind.ABORT)
    assert before == after
    assert after[0] == {"rel_stable"}
    assert after[2].state is RolloutState.ROLLED_BACK


async def test_a_former_leader_does_not_move_the_label_that_its_heir_moved_back(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    before, after = await lead_until_woken(world, world.labels, "set", command=CommandKind.ABORT)
    assert before == after
    assert after[1] == "rel_stable"


async def test_what_nobody_saw_while_no_controller_led_goes_before_a_promotion_wanted_meanwhile(make_world, make_plan):
    world = make_world(make_plan(steps=(Step(0.5, 20, 2.0), Step(1.0, 10, 2.0))), rates=(0.0, 1.0))
    await world.start()
    died = world.controller("a")
    for _ in range(3):
        await world.round(died)
    assert ((await world.row()).step, world.weight()) == (0, 0.5)
    # The lease of the first is not over yet, so nobody looks at what users are told.
    await world.serve(100)
    await world.command(CommandKind.PROMOTE, "everybody")
    world.clock.advance(11.0)
    row = await world.run(world.controller("b"), rounds=12)
    assert (row.state, row.code, row.command) == (RolloutState.ROLLED_BACK, Code.HARM, None)
    assert row.reason.endswith("ada wanted it promoted, and harm goes first")
    assert "promoted" not in world.actions()
    assert world.labels.stable == world.snapshots.now.route("ask").stable == "rel_stable"
