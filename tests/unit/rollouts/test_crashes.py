"""A controller may die before or after any write; the next one must reach the same end with the same trail."""

import contextlib
import random
from dataclasses import replace

import pytest

from shipway.core.errors import ConflictError
from shipway.rollouts import desk
from shipway.rollouts.model import CommandKind, RolloutState

pytestmark = pytest.mark.anyio
ROUNDS = 60


async def lead_to_the_end(world, fault, crash, *, command=None, command_round=4):
    """Run to a settled rollout; whoever crashes is followed by another controller after the lease has expired."""
    await world.start()
    controllers, crashes = 0, 0
    controller = world.controller("c0", fault)
    for number in range(ROUNDS):
        if number == command_round and command:
            await world.command(command)
        try:
            await world.round(controller, conversations=30)
        except crash:
            crashes += 1
            controllers += 1
            # Shorter than the dead man's time, longer than the lease.
            world.clock.advance(11.0)
            controller = world.controller(f"c{controllers}", fault)
        check_now(world)
        if (await world.row()).settled and not await desk.unsettled(world.documents, "production"):
            break
    return crashes


def check_now(world):
    for snapshot in world.snapshots.writes:
        assert 0.0 <= snapshot.route("ask").candidate_weight <= 1.0
    epochs = [snapshot.epoch for snapshot in world.snapshots.writes]
    assert epochs == sorted(epochs)


async def check_trail(world, *, final):
    row = await world.row()
    assert row.state is final
    assert row.settled
    assert row.outbox == ()
    ids = [event.details["action_id"] for event in world.events]
    assert ids == [f"ro_1/{number}" for number in range(1, len(ids) + 1)]
    assert len(ids) == row.actions
    assert world.steps() == list(range(len(world.steps())))
    folded = world.refolded()
    assert (row.evidence.strata, row.evidence.process) == (folded.strata, folded.process)
    if final is RolloutState.COMPLETED:
        assert world.steps() == [0, 1, 2] or row.verdict is None
        assert world.labels.stable == "rel_candidate"
        assert world.target.running == {"rel_candidate"}
    else:
        check_rolled_back(world)


def check_rolled_back(world):
    decided = next(event for event in world.events if event.action == "rollout.roll_back")
    finished = next(event for event in world.events if event.action == "rollout.rolled_back")
    assert decided.seq < finished.seq
    withdrawn = [snapshot.route("ask").candidate is None for snapshot in world.snapshots.writes]
    first = withdrawn.index(True, withdrawn.index(False)) if False in withdrawn else 0
    assert all(withdrawn[first:])
    assert world.labels.stable == "rel_stable"
    assert world.target.running == {"rel_stable"}


SCENARIOS = [
    ((0.2, 0.2), None, RolloutState.COMPLETED),
    ((0.2, 0.9), None, RolloutState.ROLLED_BACK),
    ((0.2, 0.6), None, RolloutState.ROLLED_BACK),
    ((0.2, 0.2), CommandKind.ABORT, RolloutState.ROLLED_BACK),
    ((0.2, 0.2), CommandKind.PROMOTE, RolloutState.COMPLETED),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=["good", "bad", "worse", "abort", "promote"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_around_any_write_changes_neither_the_end_nor_the_trail(
    make_world, make_plan, make_fault, crash, scenario, after
):
    rates, command, final = scenario
    at = 1
    while True:
        world = make_world(make_plan(), seed=3, rates=rates)
        fault = make_fault(at=at, after=after)
        crashes = await lead_to_the_end(world, fault, crash, command=command)
        await check_trail(world, final=final)
        if not crashes:
            break
        at += 1
    assert at > 30


@pytest.mark.parametrize("seed", range(60))
async def test_no_sequence_of_commands_crashes_and_lost_leases_has_no_way_out(
    make_world, make_plan, make_fault, crash, seed
):
    chance = random.Random(seed)
    world = make_world(make_plan(), seed=seed, rates=(0.2, chance.choice([0.2, 0.9])))
    await world.start()
    fault = make_fault()
    holders = [world.controller("a", fault), world.controller("b", fault)]
    for _ in range(chance.randrange(5, 25)):
        await disturb(world, chance, fault)
        for place, controller in enumerate(holders):
            try:
                await world.round(controller, conversations=chance.choice([0, 15, 40]))
            except crash:
                holders[place] = world.controller(f"h{fault.count}", fault)
        check_now(world)
    fault.at = 0
    was = (await world.row()).state
    with contextlib.suppress(ConflictError):  # it may have ended by itself
        await world.command(CommandKind.ABORT)
    world.clock.advance(11.0)
    await world.run(holders[0])
    for _ in range(8):
        await world.round(holders[0])
    row = await world.row()
    terminal = was if was in {RolloutState.COMPLETED, RolloutState.ROLLED_BACK} else RolloutState.ROLLED_BACK
    await check_end(world, row, terminal)


async def check_end(world, row, terminal):
    assert row.state is terminal
    assert row.settled
    ids = [event.details["action_id"] for event in world.events]
    assert ids == [f"ro_1/{number}" for number in range(1, row.actions + 1)]
    route = world.snapshots.now.route("ask")
    assert route.candidate is None
    assert route.stable == ("rel_candidate" if terminal is RolloutState.COMPLETED else "rel_stable")
    assert world.target.running == {route.stable}


async def disturb(world, chance, fault):
    match chance.randrange(7):
        case 0:
            fault.at, fault.after = fault.count + chance.randrange(1, 8), chance.random() < 0.5
        case 1:
            world.clock.advance(11.0)
        case 2:
            now = world.snapshots.now
            if now.route("ask").candidate:
                weight = chance.choice([0.0, 0.3])
                routes = (replace(now.route("ask"), candidate_weight=weight), *now.routes[1:])
                await world.snapshots.write(replace(now, routes=routes), expected_version=now.version)
        case 3 | 4 | 5:
            kinds = [CommandKind.PAUSE, CommandKind.RESUME, CommandKind.RESUME, CommandKind.PROMOTE, CommandKind.ABORT]
            kind = chance.choices(kinds, weights=[4, 4, 4, 1, 1])[0]
            # Refused when an abort is waiting, which is a way out already, or where it would mean nothing.
            with contextlib.suppress(ConflictError):
                await world.command(kind)
        case _:
            world.tripped = chance.choice([set(), {"w1"}, {"w1", "w2"}])
