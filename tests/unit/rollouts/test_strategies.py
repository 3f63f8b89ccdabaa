"""Every strategy walked through from start to end, with good and bad candidates, by the real controller."""

from dataclasses import replace

import pytest

from shipway.core.snapshot import Segment
from shipway.core.verdicts import Verdict
from shipway.rollouts.checks import CheckResult
from shipway.rollouts.model import Code, CommandKind, RolloutState
from shipway.rollouts.plan import Plan, Step
from shipway.rollouts.plan_check import problems
from shipway.rollouts.strategies import StrategyOptions, with_strategy

pytestmark = pytest.mark.anyio
STABLE, CANDIDATE = "rel_stable", "rel_candidate"


@pytest.fixture(name="planned")
def planned_fixture(make_plan):
    def planned(strategy, **options) -> Plan:
        return with_strategy(make_plan(), strategy, StrategyOptions(**{"bake_s": 3.0, **options}))

    return planned


def trail(world):
    return [action for action in world.actions() if action not in {"taken_over", "settled"}]


def no_traffic_to_the_ill(world):
    for snapshot in world.snapshots.writes:
        route = snapshot.route("ask")
        assert route.parked or route.stable in world.target.healthy_releases


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "shadow", "rolling", "flag", "swap"])
def test_the_plan_that_a_strategy_makes_can_run(planned, strategy):
    assert problems(planned(strategy)) == []


async def test_blue_green_warms_checks_switches_everybody_and_keeps_blue(make_world, planned):
    world = make_world(planned("blue-green", smoke=True, keep_s=100.0))
    await world.start()
    controller = world.controller()
    for _ in range(4):
        await world.round(controller)
    assert world.weight() == 0.0
    assert world.snapshots.now.route("ask").candidate == CANDIDATE
    assert world.checks.asked

    world.checks.results["smoke"] = CheckResult(Verdict.PASS, "9 of 9 checks passed")
    row = await world.run(controller, conversations=5)
    assert row.state is RolloutState.COMPLETED
    weights = [snapshot.route("ask").candidate_weight for snapshot in world.snapshots.writes]
    assert [weight for weight in weights if weight] == [1.0]
    # Blue still runs, so that going back is instant, and is stopped when its time is over.
    await world.round(controller, seconds=50.0)
    assert world.target.running == {STABLE, CANDIDATE}
    await world.round(controller, seconds=60.0)
    assert world.target.running == {CANDIDATE}


@pytest.mark.parametrize("strategy", ["blue-green", "swap", "rolling"])
async def test_failed_smoke_checks_keep_every_user_on_stable(make_world, planned, strategy):
    world = make_world(planned(strategy, smoke=True))
    world.checks.results["smoke"] = CheckResult(Verdict.FAIL, "knows Paris: 'Lyon'")
    await world.start()
    controller = world.controller()
    row = await world.run(controller, conversations=5)
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.SMOKE)
    assert "knows Paris" in row.reason
    assert max(snapshot.route("ask").candidate_weight for snapshot in world.snapshots.writes) == 0.0
    for _ in range(6):
        await world.round(controller)
    assert world.target.running == {STABLE}


async def without_smoke(world):
    """Let a rollout pause because its smoke checks cannot be done."""
    world.checks.results["smoke"] = CheckResult(Verdict.ERROR, "no engine")
    await world.start()
    controller = world.controller()
    for _ in range(6):
        await world.round(controller)
    row = await world.row()
    assert (row.state, row.code) == (RolloutState.PAUSED, Code.SMOKE)
    assert "no engine; `shipway rollout resume ro_1` does them again" in row.reason
    return controller


async def test_smoke_checks_that_could_not_be_done_ask_a_person_who_may_go_on_without_them(make_world, planned):
    world = make_world(planned("blue-green", smoke=True))
    controller = await without_smoke(world)
    await world.command(CommandKind.APPROVE)
    done = await world.run(controller, conversations=5)
    assert (done.state, done.smoke_again) == (RolloutState.COMPLETED, 0)
    approved = next(event for event in world.events if event.action == "rollout.approved")
    assert (approved.actor, approved.details["without"]) == ("ada", "smoke checks")


async def test_resuming_does_smoke_checks_again_that_could_not_be_done(make_world, planned):
    world = make_world(planned("blue-green", smoke=True))
    controller = await without_smoke(world)
    for number in (1, 2):
        await world.command(CommandKind.RESUME)
        await world.round(controller)
        again = await world.row()
        assert (again.state, again.code, again.smoke_again) == (RolloutState.PAUSED, Code.SMOKE, number)
        assert world.weight() == 0.0
    del world.checks.results["smoke"]
    await world.command(CommandKind.RESUME)
    for _ in range(3):
        await world.round(controller)
    assert ((await world.row()).code, world.weight()) == (Code.NONE, 0.0)
    world.checks.results["smoke"] = CheckResult(Verdict.FAIL, "knows Paris: 'Lyon'")
    done = await world.run(controller)
    assert (done.state, done.code) == (RolloutState.ROLLED_BACK, Code.SMOKE)


async def test_a_step_that_baked_before_its_smoke_checks_does_not_bake_again_for_them(make_world, make_plan):
    steps = (Step(0.1, 0, 50.0, traffic=False), Step(1.0, 0, 1.0, traffic=False, smoke=True))
    world = make_world(make_plan(steps=steps))
    world.checks.results["smoke"] = CheckResult(Verdict.ERROR, "no engine")
    await world.start()
    controller = world.controller()
    for _ in range(70):
        await world.round(controller)
    row = await world.row()
    assert (row.code, row.step) == (Code.SMOKE, 0)
    world.checks.results["smoke"] = CheckResult(Verdict.PASS, "9 of 9 checks passed")
    await world.command(CommandKind.RESUME)
    await world.round(controller)
    assert (await world.row()).step == 1


async def test_rolling_needs_no_users_but_stops_for_harm(make_world, planned):
    quiet = make_world(planned("rolling", batches=4))
    await quiet.start()
    assert (await quiet.run(quiet.controller())).state is RolloutState.COMPLETED
    assert [event.details["weight"] for event in quiet.events if event.action == "rollout.advanced"] == [
        0.25,
        0.5,
        0.75,
        1.0,
    ]
    bad = make_world(planned("rolling", bake_s=8.0), rates=(0.05, 0.95))
    await bad.start()
    row = await bad.run(bad.controller(), conversations=30)
    assert row.state is RolloutState.ROLLED_BACK


async def test_swap_parks_stops_starts_and_unparks(make_world, planned):
    world = make_world(planned("swap"))
    await world.start()
    controller = world.controller()
    seen = set()
    for _ in range(30):
        await world.round(controller)
        route = world.snapshots.now.route("ask")
        seen.add((route.parked, route.candidate, frozenset(world.target.running)))
        # Never both at once: there is no room.
        assert world.target.running != {STABLE, CANDIDATE}
        assert route.parked or route.stable in world.target.running or route.candidate_weight == 1.0
        if (await world.row()).finished:
            break
    assert (await world.row()).state is RolloutState.COMPLETED
    assert world.target.running == {CANDIDATE}
    assert not world.snapshots.now.route("ask").parked
    assert any(parked for parked, _, _ in seen)
    assert trail(world)[:5] == ["started", "parked", "confirmed", "displaced", "services_started"]


async def test_a_swap_whose_candidate_does_not_start_gives_stable_its_room_back(make_world, planned):
    world = make_world(replace(planned("swap"), start_timeout_s=5.0))
    world.target.healthy_releases = {STABLE}
    await world.start()
    controller = world.controller()
    row = await world.run(controller)
    assert (row.state, row.code) == (RolloutState.ROLLED_BACK, Code.UNHEALTHY)
    assert world.target.running == {STABLE}
    assert not world.snapshots.now.route("ask").parked
    no_traffic_to_the_ill(world)


@pytest.mark.parametrize("strategy", ["canary", "blue-green", "shadow", "rolling", "flag", "swap"])
async def test_a_candidate_whose_process_only_ends_is_given_up_at_once(make_world, planned, strategy):
    world = make_world(planned(strategy))
    world.target.healthy_releases = {STABLE}
    await world.start()
    controller = world.controller()
    while CANDIDATE not in world.target.running:
        await world.round(controller)
    world.target.problems[CANDIDATE] = "api ended 5 times and was never healthy"
    given_up_s = world.clock.now_s()
    row = await world.run(controller)
    assert (row.state, row.code, row.verdict) == (RolloutState.ROLLED_BACK, Code.CANNOT_LOAD, Verdict.ERROR)
    assert row.reason == "api ended 5 times and was never healthy"
    assert row.times.decided_s - given_up_s < row.plan.start_timeout_s / 10
    assert STABLE in world.target.running
    assert not world.snapshots.now.route("ask").parked
    no_traffic_to_the_ill(world)


async def test_requests_wait_until_stable_is_healthy_again(make_world, planned):
    world = make_world(planned("swap"))
    await world.start()
    controller = world.controller()
    for _ in range(3):
        await world.round(controller)
    world.target.healthy_releases = {CANDIDATE}
    await world.command(CommandKind.ABORT)
    for _ in range(4):
        await world.round(controller)
        assert world.snapshots.now.route("ask").parked
    assert (await world.row()).state is RolloutState.ROLLING_BACK
    world.target.healthy_releases = {STABLE}
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK
    assert not world.snapshots.now.route("ask").parked


async def test_a_flag_has_its_segments_and_stays_at_its_last_share(make_world, make_plan):
    plan = replace(make_plan(steps=(Step(0.5, 10, 2.0),), segments=(Segment(tenants=("beta",)),)), strategy="flag")
    assert problems(plan) == []
    world = make_world(plan)
    await world.start()
    controller = world.controller()
    for _ in range(12):
        await world.round(controller, conversations=30)
    row = await world.row()
    assert row.state is RolloutState.PROGRESSING
    route = world.snapshots.now.route("ask")
    assert (route.candidate_weight, route.segments) == (0.5, (Segment(tenants=("beta",)),))
    await world.command(CommandKind.PROMOTE)
    assert (await world.run(controller)).state is RolloutState.COMPLETED
    assert world.snapshots.now.route("ask").segments == ()


async def test_a_step_waits_for_approval_and_resuming_is_none(make_world, make_plan):
    steps = (Step(0.1, 20, 2.0), Step(0.5, 20, 2.0, approval=True), Step(1.0, 10, 2.0))
    world = make_world(replace(make_plan(steps=steps), ask_to_promote=True))
    await world.start()
    controller = world.controller()
    for _ in range(12):
        await world.round(controller, conversations=30)
    row = await world.row()
    assert (row.state, row.code, row.step) == (RolloutState.PAUSED, Code.APPROVAL, 0)
    assert "shipway rollout approve" in row.reason
    with pytest.raises(Exception, match="waits for a person"):
        await world.command(CommandKind.RESUME)
    await world.command(CommandKind.APPROVE, "looked at the answers")
    for _ in range(40):
        await world.round(controller, conversations=30)
    row = await world.row()
    assert (row.state, row.code, row.step) == (RolloutState.PAUSED, Code.APPROVAL, 2)
    await world.command(CommandKind.APPROVE)
    assert (await world.run(controller)).state is RolloutState.COMPLETED
    assert [event.actor for event in world.events if event.action == "rollout.approved"] == ["ada", "ada"]


async def test_a_step_begins_in_its_window_only(make_world, make_plan):
    # The world's clock begins on a Sunday in June 2025.
    steps = (Step(0.1, 0, 1.0, traffic=False), Step(1.0, 0, 1.0, windows=("Mon-Fri 09:00-17:00",), traffic=False))
    world = make_world(make_plan(steps=steps, deadline_s=10.0))
    await world.start()
    controller = world.controller()
    for _ in range(20):
        await world.round(controller)
    row = await world.row()
    assert (row.state, row.step) == (RolloutState.PROGRESSING, 0)
    world.clock.advance(24 * 3600.0)
    assert (await world.run(controller)).state is RolloutState.COMPLETED


async def test_freezing_keeps_the_weights_and_asks(make_world, make_plan):
    world = make_world(make_plan(on_harm="freeze"), rates=(0.1, 0.95))
    await world.start()
    controller = world.controller()
    for _ in range(10):
        await world.round(controller, conversations=40)
    row = await world.row()
    assert (row.state, row.code) == (RolloutState.PAUSED, Code.HARM)
    assert world.weight() == 0.1
    await world.command(CommandKind.RESUME)
    for _ in range(5):
        await world.round(controller, conversations=10)
    assert ((await world.row()).state, world.weight()) == (RolloutState.PROGRESSING, 0.1)
    await world.command(CommandKind.ABORT)
    assert (await world.run(controller)).state is RolloutState.ROLLED_BACK


@pytest.mark.parametrize(
    ("verdict", "state", "code"),
    [
        (Verdict.PASS, RolloutState.PAUSED, Code.EXPIRED),
        (Verdict.ERROR, RolloutState.PAUSED, Code.EXPIRED),
        (Verdict.FAIL, RolloutState.ROLLED_BACK, Code.REPLAY),
    ],
)
async def test_without_users_the_gates_cases_are_asked_and_never_promote(make_world, make_plan, verdict, state, code):
    world = make_world(make_plan(steps=(Step(0.5, 10, 1.0, max_s=5.0), Step(1.0, 0, 1.0)), on_no_data="replay"))
    await world.start()
    controller = world.controller()
    for _ in range(12):
        await world.round(controller)
    assert "replay" in world.checks.asked
    assert (await world.row()).state is RolloutState.PROGRESSING
    world.checks.results["replay"] = CheckResult(verdict, "gate: 3 of 80 cases newly wrong")
    for _ in range(4):
        await world.round(controller)
    row = await world.row()
    assert (row.state, row.code) == (state, code)
    assert "3 of 80" in row.reason


async def test_shares_of_routes_rise_each_by_its_own(make_world, make_plan):
    steps = (
        Step(0.1, 0, 1.0, routes=(("ask", 0.05),), traffic=False),
        Step(0.5, 0, 1.0, traffic=False),
        Step(1.0, 0, 1.0, traffic=False),
    )
    world = make_world(make_plan(steps=steps))
    await world.start()
    assert (await world.run(world.controller())).state is RolloutState.COMPLETED
    shares = [snapshot.route("ask").candidate_weight for snapshot in world.snapshots.writes]
    assert [share for share in shares if share] == [0.05, 0.5, 1.0]


async def test_stable_makes_room_only_when_its_requests_have_ended_or_their_time_is_over(make_world, planned):
    world = make_world(replace(planned("swap"), drain_s=5.0))
    await world.start()
    controller = world.controller()
    world.busy = {"w2"}
    for _ in range(4):
        await world.round(controller)
    assert world.snapshots.now.route("ask").parked
    assert world.target.running == {STABLE}
    world.busy = set()
    await world.round(controller)
    assert STABLE not in world.target.running

    slow = make_world(replace(planned("swap"), drain_s=5.0))
    await slow.start()
    controller = slow.controller()
    slow.busy = {"w1"}
    assert (await slow.run(controller)).state is RolloutState.COMPLETED
    parked, displaced = (
        next(event.at_s for event in slow.events if event.action == f"rollout.{name}")
        for name in ("parked", "displaced")
    )
    assert displaced - parked >= 5.0
