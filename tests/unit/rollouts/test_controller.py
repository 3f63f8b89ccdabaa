"""The loop: healthy, harmful and aborted rollouts, leaders, foreign changes, silence."""

from dataclasses import replace

import pytest

from shipway.core.errors import ConflictError
from shipway.core.verdicts import Verdict
from shipway.rollouts import desk
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Step

pytestmark = pytest.mark.anyio


async def test_a_healthy_candidate_is_promoted_step_by_step(make_world, make_plan):
    world = make_world(make_plan(), seed=3)
    await world.start()
    done = await world.run(world.controller(), conversations=40)
    assert done.state is RolloutState.COMPLETED
    assert done.verdict is Verdict.PASS
    assert world.steps() == [0, 1, 2]
    route = world.snapshots.now.route("ask")
    assert (route.stable, route.candidate, route.candidate_weight) == ("rel_candidate", None, 0.0)
    assert world.labels.stable == "rel_candidate"
    assert world.snapshots.now.rollout is None
    assert world.snapshots.now.route("other").stable == "rel_else"


async def test_a_harmful_candidate_is_rolled_back_and_gets_no_traffic_any_more(make_world, make_plan):
    world = make_world(make_plan(), seed=3, rates=(0.2, 0.9))
    await world.start()
    done = await world.run(world.controller(), conversations=40)
    assert done.state is RolloutState.ROLLED_BACK
    assert (done.verdict, done.code) == (Verdict.FAIL, Code.HARM)
    assert "bad conversations" in done.reason
    assert world.snapshots.now.route("ask").candidate is None
    assert world.labels.stable == "rel_stable"
    times = done.times
    assert done.evidence.first_bad_event_at_s <= times.decided_s <= times.confirmed_s
    assert done.evidence.last_candidate_assignment_at_s <= times.confirmed_s


async def test_the_losing_process_is_stopped_only_after_the_drain(make_world, make_plan):
    world = make_world(make_plan(), rates=(0.2, 0.9))
    await world.start()
    controller = world.controller()
    await world.run(controller, conversations=40)
    assert world.target.running == {"rel_stable", "rel_candidate"}
    for _ in range(6):
        await world.round(controller)
    assert world.target.running == {"rel_stable"}
    row = await world.row()
    assert row.settled
    assert row.evidence.seen == {}
    assert await desk.unsettled(world.documents, "production") == []


async def test_a_candidate_that_never_becomes_healthy_gets_no_weight(make_world, make_plan):
    world = make_world(make_plan(start_timeout_s=5.0))
    world.target.healthy_releases = {"rel_stable"}
    await world.start()
    done = await world.run(world.controller(), conversations=5)
    assert done.state is RolloutState.FAILED
    assert "not healthy" in done.reason
    assert all(snapshot.route("ask").candidate is None for snapshot in world.snapshots.writes)


async def test_a_process_is_healthy_before_its_first_conversation(make_world, make_plan):
    world = make_world(make_plan())
    world.target.healthy_releases = {"rel_stable"}
    await world.start()
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    assert world.weight() == 0.0
    world.target.healthy_releases.add("rel_candidate")
    await world.round(controller)
    assert world.weight() == 0.1
    assert ("rel_candidate", "http://127.0.0.1/rel_candidate") in world.snapshots.now.route("ask").endpoints


async def test_a_step_is_not_confirmed_before_every_living_worker_has_applied_it(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await controller.tick()
    await world.report("w1")
    world.worker_views["w1"] = world.snapshots.now
    await world.report("w1")
    await controller.tick()
    assert "confirmed" not in world.actions()
    await world.apply()
    await controller.tick()
    assert world.actions()[-1] == "confirmed"


async def test_a_dead_worker_holds_nothing_up_once_its_dead_man_must_have_tripped(make_world, make_plan):
    world = make_world(make_plan(), rates=(0.2, 0.2))
    await world.start()
    controller = world.controller()
    await world.round(controller)
    del world.worker_views["w2"]
    for _ in range(35):
        await world.round(controller)
    assert world.actions()[-1] == "confirmed"


async def test_no_data_never_passes(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    for _ in range(50):
        await world.round(controller, conversations=0, seconds=100.0)
    row = await world.row()
    assert (row.state, row.step, world.weight()) == (RolloutState.PROGRESSING, 0, 0.1)


@pytest.mark.parametrize(("policy", "state"), [("hold", RolloutState.PAUSED), ("abort", RolloutState.ROLLED_BACK)])
async def test_without_data_the_deadline_follows_the_policy(make_world, make_plan, policy, state):
    world = make_world(make_plan(deadline_s=20.0, on_no_data=policy))
    await world.start()
    controller = world.controller()
    for _ in range(30):
        await world.round(controller)
    row = await world.row()
    assert row.state is state
    assert row.verdict is Verdict.NO_DATA
    assert "deadline_s" in row.reason


async def test_a_step_that_takes_too_long_pauses_and_goes_on_when_resumed(make_world, make_plan):
    steps = make_plan().steps
    world = make_world(make_plan(steps=(replace(steps[0], min_conversations=500, max_s=10.0), *steps[1:])))
    await world.start()
    controller = world.controller()
    for _ in range(15):
        await world.round(controller, conversations=1)
    assert (await world.row()).code is Code.EXPIRED
    await world.command(CommandKind.RESUME)
    await world.round(controller, conversations=500)
    await world.round(controller)
    assert (await world.row()).state is RolloutState.PROGRESSING


async def test_an_environment_takes_one_rollout_at_a_time(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    with pytest.raises(ConflictError, match="ro_1"):
        await world.start(seed_id="ro_2")


async def test_a_user_promotes_a_waiting_rollout_to_everybody(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await world.round(controller)
    await world.command(CommandKind.PROMOTE, "hotfix")
    done = await world.run(controller)
    assert (done.state, done.verdict, done.reason) == (RolloutState.COMPLETED, None, "hotfix")
    promoted = next(event for event in world.events if event.action == "rollout.promoted")
    assert promoted.actor == "ada"


async def test_a_promotion_by_hand_is_recorded_with_what_it_does_without(make_world, make_plan):
    steps = (Step(0.1), Step(0.5, smoke=True, windows=("Mon-Sun 00:00-24:00",)), Step(1.0, approval=True))
    world = make_world(replace(make_plan(), steps=steps))
    await world.start()
    controller = world.controller()
    await world.round(controller)
    await world.round(controller)
    assert (await world.row()).step == 0
    await world.command(CommandKind.PROMOTE, "hotfix")
    assert (await world.run(controller)).state is RolloutState.COMPLETED
    (promoted,) = [event for event in world.events if event.action == "rollout.promoted"]
    assert promoted.details["without"] == [
        "step 2 at 50% (smoke checks, a time of the week)",
        "step 3 at 100% (a person's approval)",
    ]


async def test_abort_during_promotion_restores_stable_and_its_label(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await world.round(controller)
    await world.command(CommandKind.PROMOTE)
    await controller.tick()
    world.labels.stable = "rel_candidate"
    assert world.snapshots.now.route("ask").stable == "rel_candidate"
    await world.command(CommandKind.ABORT)
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK
    assert world.snapshots.now.route("ask").stable == "rel_stable"
    assert world.labels.stable == "rel_stable"


async def test_a_command_that_arrives_in_the_middle_of_a_tick_is_not_overwritten(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    inner = world.target.start

    async def start(release, *, fence):
        world.target.start = inner
        await world.command(CommandKind.ABORT)
        await inner(release, fence=fence)

    world.target.start = start
    controller = world.controller()
    await world.round(controller)
    assert (await world.row()).command.kind is CommandKind.ABORT
    assert (await world.run(controller, conversations=40)).state is RolloutState.ROLLED_BACK


async def test_a_losing_release_that_another_route_serves_is_not_stopped(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    controller = world.controller()
    await world.command(CommandKind.PROMOTE)
    await world.run(controller)
    now = world.snapshots.now
    other = replace(now.route("other"), stable="rel_stable")
    await world.snapshots.write(replace(now, routes=(now.route("ask"), other)), expected_version=now.version)
    for _ in range(6):
        await world.round(controller)
    assert (await world.row()).settled
    assert world.target.running == {"rel_stable", "rel_candidate"}
    assert world.events[-1].details["stopped"] is False


async def test_a_candidate_that_a_worker_cannot_load_ends_the_rollout_instead_of_holding_it_for_ever(
    make_world, make_plan
):
    world = make_world(make_plan(), seed=3)
    await world.start()
    controller = world.controller()
    await world.round(controller, conversations=5)
    world.target.problems[world.snapshots.now.route("ask").candidate] = "gateway-0 cannot load it: no model file"
    done = await world.run(controller, conversations=5)
    assert (done.state, done.verdict, done.code) == (RolloutState.ROLLED_BACK, Verdict.ERROR, Code.CANNOT_LOAD)
    assert done.reason == "gateway-0 cannot load it: no model file"
    assert world.snapshots.now.route("ask").candidate is None
    assert world.labels.stable == "rel_stable"
