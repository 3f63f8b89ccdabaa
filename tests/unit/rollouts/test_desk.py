"""Starting rollouts and handing over commands."""

from dataclasses import replace

import pytest

from shipway.core.errors import ConflictError, NotFoundError, UsageError
from shipway.rollouts import desk
from shipway.rollouts.model import Command, CommandKind, RolloutState
from shipway.rollouts.plan import Plan, Step

pytestmark = pytest.mark.anyio


def test_every_fault_of_a_new_rollout_is_named_at_once():
    plan = Plan(steps=(Step(0.5),), alpha=2.0)
    with pytest.raises(UsageError) as caught:
        desk.new_rollout("ro", "production", (), releases=("a", "a"), plan=plan, now_s=0.0)
    text = str(caught.value)
    assert all(part in text for part in ["last step must be 1", "alpha: 2.0", "stable release", "routes:"])


async def test_a_started_rollout_is_found_by_the_controller_and_audited_with_its_author(make_world, make_plan):
    world = make_world(make_plan())
    started = await world.start()
    assert await desk.unsettled(world.documents, "production") == ["ro_1"]
    assert (started.history[0].action, started.history[0].actor) == ("rollout.started", "ada")
    assert (await world.row()) == started


async def test_a_start_that_crashed_halfway_does_not_block_the_next_one(make_world, make_plan):
    world = make_world(make_plan())
    await world.documents.put(desk.INDEX_KIND, "production", {"rollouts": ["ro_never"]})
    await world.start()
    assert await desk.unsettled(world.documents, "production") == ["ro_1"]


async def test_of_two_starts_at_the_same_moment_one_wins(make_world, make_plan):
    world = make_world(make_plan())
    inner = world.documents.put

    async def put(kind, key, body, *, expected_version=None):
        if kind == desk.KIND:
            world.documents.put = inner
            await world.start(seed_id="ro_2")
        return await inner(kind, key, body, expected_version=expected_version)

    world.documents.put = put
    with pytest.raises(ConflictError, match="same moment"):
        await world.start(seed_id="ro_1")
    assert await desk.unsettled(world.documents, "production") == ["ro_2"]
    assert await desk.find(world.documents, "ro_1") is None


async def test_a_second_abort_changes_nothing_and_no_command_replaces_an_abort(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    first = await world.command(CommandKind.ABORT, "bad feeling")
    assert await world.command(CommandKind.ABORT, "again") == first
    with pytest.raises(ConflictError, match="ada aborted it"):
        await world.command(CommandKind.PROMOTE)


async def test_a_command_is_written_again_when_the_row_changed_meanwhile(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    inner = world.documents.put

    async def put(kind, key, body, *, expected_version=None):
        world.documents.put = inner
        await inner(kind, key, body)
        return await inner(kind, key, body, expected_version=expected_version)

    world.documents.put = put
    await world.command(CommandKind.PAUSE)
    assert (await world.row()).command.kind is CommandKind.PAUSE


async def test_an_unknown_rollout_is_not_found(make_world, make_plan):
    world = make_world(make_plan())
    with pytest.raises(NotFoundError, match="ro_1"):
        await world.command(CommandKind.PAUSE)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (RolloutState.PROGRESSING, CommandKind.RESUME),
        (RolloutState.PAUSED, CommandKind.PAUSE),
        (RolloutState.PROMOTING, CommandKind.PROMOTE),
        (RolloutState.ROLLING_BACK, CommandKind.PROMOTE),
        (RolloutState.ROLLED_BACK, CommandKind.RESUME),
        *((RolloutState.COMPLETED, kind) for kind in CommandKind),
        (RolloutState.FAILED, CommandKind.ABORT),
    ],
)
async def test_a_command_that_the_state_does_not_allow_is_refused_and_the_state_named(
    make_world, make_plan, state, kind
):
    world = make_world(make_plan())
    await world.start()
    row, version = await desk.load(world.documents, "ro_1")
    await world.documents.put(desk.KIND, "ro_1", replace(row, state=state).to_dict(), expected_version=version)

    with pytest.raises(ConflictError, match=f"rollout ro_1 is {state}, so there is nothing to {kind}") as refused:
        await world.command(kind)

    assert refused.value.hint
    assert (await world.row()).command is None


@pytest.mark.parametrize("state", [RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK])
async def test_aborting_what_was_aborted_changes_nothing(make_world, make_plan, state):
    world = make_world(make_plan())
    await world.start()
    row, version = await desk.load(world.documents, "ro_1")
    await world.documents.put(desk.KIND, "ro_1", replace(row, state=state).to_dict(), expected_version=version)

    assert (await world.command(CommandKind.ABORT)).state is state
    assert (await world.row()).command is None


async def test_a_command_is_judged_by_the_state_that_the_one_before_it_will_bring(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    await world.command(CommandKind.PAUSE)

    assert (await world.command(CommandKind.RESUME)).command.kind is CommandKind.RESUME


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (RolloutState.PROGRESSING, "`shipway rollout status ro_1` says what it waits for"),
        (RolloutState.PAUSED, "`shipway rollout resume ro_1` lets it go on"),
    ],
)
async def test_an_approval_that_nobody_waits_for_points_to_what_this_rollout_can_do(make_world, make_plan, state, said):
    world = make_world(make_plan())
    row = replace(await world.start(), state=state)
    with pytest.raises(ConflictError, match="waits for no approval") as refused:
        desk.with_command(row, Command(CommandKind.APPROVE, "ada", "", 0.0))
    assert said in refused.value.hint
    assert "deploy" not in refused.value.hint


async def test_who_comes_after_an_abort_is_not_told_to_start_another_rollout(make_world, make_plan):
    world = make_world(make_plan())
    await world.start()
    await world.command(CommandKind.ABORT, "bad feeling")
    with pytest.raises(ConflictError, match="comes too late") as refused:
        await world.command(CommandKind.PAUSE, "wait")
    assert "deploy" not in refused.value.hint
