"""Failures that users of other rollout controllers report, as far as they can happen on one machine.

The numbers are those of the list in the project's research; 8 (autoscaling) needs a cluster. 9 and 10 (a configuration
that is not rolled back, or whose change starts no rollout) cannot happen because configuration is part of the release:
`tests/unit/registry` has those tests.
"""

import contextlib
from dataclasses import replace

import pytest
from tests.unit.rollouts.folds import folded, served

from shipway.core.errors import ConflictError, FencedError
from shipway.core.snapshot import RouteTraffic
from shipway.core.verdicts import Verdict
from shipway.rollouts import desk
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Step
from shipway.rollouts.strategies import StrategyOptions, with_strategy

pytestmark = pytest.mark.anyio
STABLE, CANDIDATE = "rel_stable", "rel_candidate"


async def begun(world, rounds=3):
    """Return a controller that has led a rollout into its first step."""
    await world.start()
    controller = world.controller()
    for _ in range(rounds):
        await world.round(controller)
    return controller


def candidates(world):
    return [snapshot.route("ask").candidate for snapshot in world.snapshots.writes]


async def test_01_a_bad_stable_does_not_block_its_fix(make_world, make_plan):
    world = make_world(make_plan(), seed=3, rates=(0.9, 0.05))
    await world.start()
    assert (await world.run(world.controller(), conversations=40)).state is RolloutState.COMPLETED
    assert world.labels.stable == CANDIDATE


async def test_01_a_stable_that_is_down_can_be_left_at_once(make_world, make_plan):
    world = make_world(make_plan())
    controller = await begun(world)
    world.target.healthy_releases = {CANDIDATE}
    await world.command(CommandKind.PROMOTE, "stable is down")
    assert (await world.run(controller)).state is RolloutState.COMPLETED
    assert world.snapshots.now.route("ask").stable == CANDIDATE


async def test_02_an_aborted_release_can_be_deployed_again_before_and_after_its_processes_are_gone(
    make_world, make_plan
):
    world = make_world(make_plan(), rates=(0.02, 0.02))
    controller = await begun(world)
    await world.command(CommandKind.ABORT)
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK
    # The first one still drains.
    await world.start(seed_id="ro_2")
    for _ in range(6):
        await world.round(controller)
    assert CANDIDATE in world.target.running
    await world.command(CommandKind.ABORT)
    await world.run(controller)
    for _ in range(8):
        await world.round(controller)
    assert world.target.running == {STABLE}
    await world.start(seed_id="ro_3")
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "swap"])
async def test_03_an_abort_with_nothing_started_leaves_stable_running(make_world, make_plan, strategy):
    world = make_world(with_strategy(make_plan(), strategy, StrategyOptions()))
    await world.start()
    await world.command(CommandKind.ABORT)
    controller = world.controller()
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK
    for _ in range(8):
        await world.round(controller)
    assert world.target.running == {STABLE}
    assert world.snapshots.now.route("ask").stable == STABLE
    assert not world.snapshots.now.route("ask").parked


async def test_04_an_abort_after_promote_is_obeyed(make_world, make_plan):
    world = make_world(make_plan())
    controller = await begun(world)
    await world.command(CommandKind.PROMOTE)
    world.clock.advance(1.0)
    await controller.tick()
    assert (await world.row()).state is RolloutState.PROMOTING
    await world.command(CommandKind.ABORT)
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK
    assert world.snapshots.now.route("ask").stable == STABLE


async def test_05_after_an_abort_no_write_brings_the_candidate_back(make_world, make_plan):
    world = make_world(make_plan())
    controller = await begun(world)
    await world.command(CommandKind.ABORT)
    for _ in range(20):
        await world.round(controller, conversations=10)
    seen = candidates(world)
    gone = len(seen) - seen[::-1].index(CANDIDATE)
    assert seen[gone:]
    assert set(seen[gone:]) == {None}


async def test_06_a_bad_candidate_is_not_left_running(make_world, make_plan):
    world = make_world(make_plan(), rates=(0.05, 0.95))
    controller = await begun(world)
    assert (await world.run(controller, conversations=40)).state is RolloutState.ROLLED_BACK
    for _ in range(6):
        await world.round(controller)
    assert world.target.running == {STABLE}


async def test_07_a_new_version_in_the_middle_is_refused_and_changes_nothing(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    controller = await begun(world)
    before = (world.snapshots.now, await world.row())
    with pytest.raises(ConflictError, match="shipway rollout abort ro_1"):
        await world.start(seed_id="ro_2")
    world.rollout_id = "ro_1"
    assert (world.snapshots.now, await world.row()) == before
    assert await desk.unsettled(world.documents, "production") == ["ro_1"]
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED


async def test_11_a_leader_that_was_replaced_cannot_write_traffic(make_world, make_plan):
    world = make_world(make_plan())
    await begun(world)
    held = world.snapshots.now
    world.clock.advance(11.0)
    await world.controller("b").tick()
    with pytest.raises(FencedError):
        await world.snapshots.write(replace(held, rollout=None), expected_version=world.snapshots.now.version)


async def test_12_no_measurement_is_no_failure(make_world, make_plan):
    world = make_world(make_plan())
    controller = await begun(world, rounds=30)
    row = await world.row()
    assert (row.state, row.step) == (RolloutState.PROGRESSING, 0)
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED


async def test_13_checks_that_all_ended_in_errors_are_no_success(make_world, make_plan):
    steps = (Step(0.5, 10, 1.0, max_s=5.0), Step(1.0, 0, 1.0))
    world = make_world(make_plan(steps=steps, on_no_data="replay"))
    world.checks.results["replay"] = CheckResult(Verdict.ERROR, "20 of 20 cases ended in an error")
    await begun(world, rounds=20)
    row = await world.row()
    assert (row.state, row.step) == (RolloutState.PAUSED, 0)


async def test_14_promoting_after_an_inconclusive_pause_is_no_dead_end(make_world, make_plan):
    world = make_world(make_plan(steps=(Step(0.1, 20, 2.0, max_s=4.0), Step(1.0, 0, 1.0))))
    controller = await begun(world, rounds=10)
    assert ((await world.row()).state, (await world.row()).code) == (RolloutState.PAUSED, Code.EXPIRED)
    await world.command(CommandKind.PROMOTE)
    assert (await world.run(controller)).state is RolloutState.COMPLETED


async def test_15_all_routes_of_a_release_move_and_return_in_the_same_write(make_world, make_plan):
    world = make_world(make_plan())
    now = world.snapshots.now
    both = (RouteTraffic("ask", STABLE), RouteTraffic("chat", STABLE))
    await world.snapshots.write(replace(now, routes=both), expected_version=now.version)
    rollout = desk.new_rollout(
        "ro_1", "production", ("ask", "chat"), releases=(STABLE, CANDIDATE), plan=world.plan, now_s=world.clock.now_s()
    )
    await world.apply()
    await desk.start(world.documents, rollout, actor="ada")
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    await world.command(CommandKind.ABORT)
    await world.run(controller)
    shares = [{route.candidate_weight for route in snapshot.routes} for snapshot in world.snapshots.writes]
    assert {0.1} in shares
    assert all(len(share) == 1 for share in shares)


async def test_16_whoever_is_served_by_the_loser_is_served_to_the_end(make_world, make_plan):
    world = make_world(make_plan(drain_s=30.0))
    controller = await begun(world)
    await world.command(CommandKind.ABORT)
    await world.run(controller)
    for _ in range(25):
        await world.round(controller)
        assert CANDIDATE in world.target.running
    for _ in range(10):
        await world.round(controller)
    assert CANDIDATE not in world.target.running


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
async def test_17_the_weight_that_is_set_is_the_share_that_is_served(make_world, make_plan, weight):
    world = make_world(make_plan(steps=(Step(weight, 10**6, 1.0), Step(1.0, 0, 1.0))))
    await begun(world)
    await world.serve(4000)
    share = sum(item.record.is_candidate for item in world.stored) / len(world.stored)
    assert abs(share - weight) < 5 * (weight * (1 - weight) / 4000) ** 0.5


async def test_18_what_others_wrote_beside_the_rollout_is_kept_and_never_fought_over(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    controller = await begun(world)
    now = world.snapshots.now
    others = replace(now.route("other"), candidate="rel_theirs", candidate_weight=0.4)
    mine = replace(now.route("ask"), shadow="rel_shadow", shadow_share=0.2)
    await world.snapshots.write(replace(now, routes=(mine, others)), expected_version=now.version)
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED
    assert world.snapshots.now.route("other") == others
    assert world.snapshots.now.route("ask").shadow == "rel_shadow"
    assert "foreign_change" not in world.actions()


async def test_19_a_change_of_weights_moves_no_more_conversations_than_it_says(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    await world.run(world.controller(), conversations=40)
    names = [f"c{number}" for number in range(2000)]
    before: set[str] = set()
    for snapshot in world.snapshots.writes:
        route = snapshot.route("ask")
        if route.candidate is not None:
            now = {name for name in names if route.assign(name)[1]}
            assert before <= now
            before = now
    assert len(before) == len(names)


async def test_20_a_slow_start_within_its_time_is_no_failure(make_world, make_plan):
    world = make_world(make_plan(start_timeout_s=60.0, deadline_s=20.0), seed=3)
    world.target.healthy_releases = {STABLE}
    controller = await begun(world, rounds=40)
    assert (await world.row()).state is RolloutState.PENDING
    world.target.healthy_releases = {STABLE, CANDIDATE}
    assert (await world.run(controller, conversations=40)).state is RolloutState.COMPLETED


def test_21_a_conversation_that_comes_back_a_hundred_times_counts_once():
    total = folded(*(served("loyal", candidate=True, events=("error",)) for _ in range(100))).total()
    assert (total.candidate.conversations, total.candidate.bad) == (1, 1)


async def test_22_a_harmful_candidate_can_be_frozen_instead_of_rolled_back(make_world, make_plan):
    world = make_world(make_plan(on_harm="freeze"), rates=(0.05, 0.95))
    controller = await begun(world)
    for _ in range(10):
        await world.round(controller, conversations=40)
    row, weight = await world.row(), world.weight()
    assert (row.state, row.code) == (RolloutState.PAUSED, Code.HARM)
    for _ in range(10):
        await world.round(controller, conversations=40)
    assert world.weight() == weight in {0.1, 0.5}


@pytest.mark.parametrize("end", [CommandKind.ABORT, CommandKind.PROMOTE])
async def test_23_nothing_of_a_rollout_is_left_in_the_traffic_when_it_has_ended(make_world, make_plan, end):
    plan = with_strategy(make_plan(), "shadow", StrategyOptions(sample=0.5, min_pairs=1, bake_s=2.0))
    world = make_world(plan)
    controller = await begun(world)
    await world.command(end)
    await world.run(controller)
    route = world.snapshots.now.route("ask")
    winner = STABLE if end is CommandKind.ABORT else CANDIDATE
    assert (route.stable, route.candidate, route.candidate_weight, route.segments) == (winner, None, 0.0, ())
    assert (route.shadow, route.shadow_share, route.parked) == (None, 0.0, False)
    assert [release for release, _ in route.endpoints] in ([], [winner])
    assert world.snapshots.now.rollout is None


async def test_24_errors_that_stable_never_had_are_seen(make_world, make_plan):
    world = make_world(make_plan(steps=(Step(0.5, 20, 2.0), Step(1.0, 10, 2.0))), rates=(0.0, 0.15))
    await begun(world)
    row = await world.run(world.controller(), conversations=60)
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.HARM)


@pytest.mark.parametrize("end", [None, CommandKind.ABORT])
async def test_25_without_room_for_two_releases_they_take_turns(make_world, make_plan, end):
    world = make_world(with_strategy(make_plan(), "swap", StrategyOptions(bake_s=3.0)))
    await world.start()
    controller = world.controller()
    for number in range(40):
        if number == 5 and end:
            with contextlib.suppress(ConflictError):
                await world.command(end)
        await world.round(controller)
        assert world.target.running != {STABLE, CANDIDATE}
    row = await world.row()
    assert row.settled
    assert world.target.running == {STABLE if end else CANDIDATE}
