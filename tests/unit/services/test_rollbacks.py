from dataclasses import dataclass, field, replace

import anyio
import pytest
from tests.unit.services.rollback_world import Target, World

from shipway.core.errors import ConflictError, NotFoundError, UnavailableError, UsageError
from shipway.registry.model import Provenance, Release, release_id
from shipway.rollouts import desk
from shipway.rollouts.model import CommandKind, RolloutState
from shipway.services import deployments
from shipway.services.rollbacks import clear_left_over, plan_roll_back, require_running
from shipway.services.rollouts import CONTROLLER_ACTOR

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> World:
    return World()


async def test_a_rollback_says_what_it_leaves_and_where_it_goes(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b)

    plan = await plan_roll_back(world.app)

    assert (plan.kind, plan.leaves, plan.release.id) == ("switch", b, a)
    assert plan.lines == (f"rollback: {b} -> {a}",)
    done = await world.roll_back()
    assert (done.release, done.kind, await world.stable()) == (a, "rollback", a)
    assert world.target.stopped == [b]


async def test_a_second_rollback_does_not_go_forward_again(world):
    a, b = await world.release("the old words"), await world.release("the new words")
    await world.promoted(a)
    await world.promoted(b)
    await world.roll_back()

    with pytest.raises(UsageError) as caught:
        await world.roll_back()

    said = str(caught.value)
    assert f"stable now   {a}  stable since 2025-06-15T15:09:40+00:00 by user:ada  'the old words'" in said
    assert f"left behind  {b}  stable since 2025-06-15T15:08:40+00:00 by user:ada  'the new words'" in said
    assert f"`shipway rollback --to {b}`" in said
    assert await world.stable() == a


async def test_the_release_that_was_left_can_be_named(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b)
    await world.roll_back()

    assert (await world.roll_back(to=b)).release == b
    with pytest.raises(UsageError, match="rolled back already"):
        await world.roll_back()


async def test_after_a_rollback_an_older_release_is_offered_too(world):
    a, b, c = [await world.release(name) for name in ("first", "second", "third")]
    for release in (a, b, c):
        await world.promoted(release)
    await world.roll_back()

    with pytest.raises(UsageError, match=f"further back: `shipway rollback --to {a}`"):
        await world.roll_back()


async def test_after_going_forward_by_name_the_way_back_is_called_back_and_each_way_out_is_a_command(world):
    a, b, c, d = [await world.release(name) for name in ("first", "second", "third", "fourth")]
    for release in (a, b, c, d):
        await world.promoted(release)
    await world.roll_back(to=b)

    with pytest.raises(UsageError, match="going forward again") as after_back:
        await world.roll_back()
    await world.roll_back(to=c)
    with pytest.raises(UsageError, match="going back once more") as after_forward:
        await world.roll_back()

    assert after_back.value.hint.splitlines() == [
        f"if you mean it: `shipway rollback --to {d}`",
        f"  further forward: `shipway rollback --to {c}`",
        f"  further back: `shipway rollback --to {a}`",
    ]
    assert after_forward.value.hint.splitlines() == [
        f"if you mean it: `shipway rollback --to {b}`",
        f"  further forward: `shipway rollback --to {d}`",
        f"  further back: `shipway rollback --to {a}`",
    ]
    for offered in (b, d, a):
        assert (await plan_roll_back(world.app, to=offered)).release.id == offered


async def test_a_release_that_never_was_stable_here_is_refused_with_those_that_were(world):
    a, b, never = [await world.release(name) for name in ("first", "second", "never judged")]
    for release in (a, b):
        await world.promoted(release)

    with pytest.raises(UsageError, match=f"{never} was never stable in local") as refused:
        await world.roll_back(to=never)

    assert f"stable were: {b}, {a}" in refused.value.message
    assert f"`shipway deploy {never}`" in refused.value.hint
    assert f"`shipway rollback --to {a}`" in refused.value.hint
    assert f"--to {b}" not in refused.value.hint
    assert await world.audited() == []


async def test_the_candidate_of_a_rollout_that_was_taken_back_before_everybody_had_it_was_never_stable(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.rollout(a, b, RolloutState.ROLLED_BACK)

    with pytest.raises(UsageError, match=f"{b} was never stable"):
        await world.roll_back(to=b)


async def test_what_was_stable_in_another_environment_alone_is_refused(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.app.releases.set_label("production", b, at_s=1.0, actor="user:ada")

    with pytest.raises(UsageError, match=f"{b} was never stable in local"):
        await world.roll_back(to=b)


async def test_where_nothing_was_stable_a_named_release_is_to_be_deployed(world):
    a = await world.release("first")

    with pytest.raises(UsageError, match="no release was stable yet") as refused:
        await world.roll_back(to=a)

    assert refused.value.hint.endswith(f"`shipway deploy {a}`")


async def test_a_release_promoted_after_a_rollback_can_be_rolled_back(world):
    a, b, c = [await world.release(name) for name in ("first", "second", "third")]
    await world.promoted(a)
    await world.promoted(b)
    await world.roll_back()
    await world.promoted(c, CONTROLLER_ACTOR)

    assert (await world.roll_back()).release == a


async def test_a_release_that_a_rollout_took_back_itself_is_not_returned_to(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b, CONTROLLER_ACTOR)
    await world.rollout(a, b, RolloutState.ROLLED_BACK, had_everybody=True)
    await world.promoted(a, CONTROLLER_ACTOR)

    with pytest.raises(UsageError, match=f"left behind  {b}"):
        await world.roll_back()


async def test_a_rollout_that_failed_long_before_does_not_stand_in_the_way_of_a_rollback_after_promotions(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.rollout(a, b, RolloutState.ROLLED_BACK)
    await world.rolled_out(a, b)
    await world.rolled_out(b, a)

    assert (await world.roll_back()).release == b


async def test_a_promotion_that_was_taken_back_once_does_not_stand_in_the_way_after_a_later_promotion(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b, CONTROLLER_ACTOR)
    await world.rollout(a, b, RolloutState.ROLLED_BACK, had_everybody=True)
    await world.promoted(a, CONTROLLER_ACTOR)
    await world.rolled_out(a, b)
    await world.rolled_out(b, a)

    assert (await world.roll_back()).release == b


async def test_a_rollout_in_progress_is_aborted_and_both_its_releases_are_named(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    rollout = await world.rollout(a, b, RolloutState.PAUSED)
    plan = await plan_roll_back(world.app)
    await world.led()
    done = await world.roll_back()

    assert plan.lines == (f"rollback of rollout {rollout}: {b} -> {a}",)
    assert (done.kind, done.rollout, done.release) == ("abort", rollout, a)
    assert (await desk.load(world.app.state.documents, rollout))[0].command.kind is CommandKind.ABORT
    with pytest.raises(ConflictError, match="abort it first"):
        await plan_roll_back(world.app, to=a)


async def test_just_after_a_rollout_was_taken_back_the_stable_release_is_not_left_too(world):
    a, b, c = [await world.release(name) for name in ("first", "second", "third")]
    await world.promoted(a)
    await world.rollout(a, b, RolloutState.ROLLED_BACK)
    with pytest.raises(UsageError, match=f"{b} is left, {a} is stable as before\n.*no release was stable here before"):
        await plan_roll_back(world.app)
    await world.rolled_out(a, b)
    await world.rollout(b, c, RolloutState.ROLLED_BACK)
    with pytest.raises(UsageError, match=f"{c} is left, {b} is stable as before\n.* `shipway rollback --to {a}`"):
        await world.roll_back()
    world.clock.advance(600.0)
    assert (await plan_roll_back(world.app)).release.id == a


async def test_there_is_nothing_before_the_first_release(world):
    with pytest.raises(NotFoundError, match="no release before in local"):
        await world.roll_back()
    await world.promoted(await world.release("first"))
    with pytest.raises(NotFoundError, match="no release before in local"):
        await world.roll_back()


async def test_what_is_stable_already_is_not_switched_to(world):
    a = await world.release("first")
    await world.promoted(a)
    with pytest.raises(UsageError, match=f"{a} is stable in local already"):
        await world.roll_back(to=a)


async def test_a_rollback_keeps_the_dead_man_time_of_the_snapshot(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b)
    snapshot = await world.app.state.snapshots.read("local")
    await world.app.state.snapshots.write(replace(snapshot, dead_man_s=77.0), expected_version=0)

    await world.roll_back()

    assert (await world.app.state.snapshots.read("local")).dead_man_s == 77.0


async def test_without_a_controller_the_abort_is_kept_and_the_user_is_told_so(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    rollout = await world.rollout(a, b, RolloutState.PAUSED)

    with pytest.raises(UnavailableError, match=f"no controller runs .* abort of rollout {rollout} is kept") as told:
        await world.roll_back()

    assert "shipway up" in told.value.hint
    assert (await desk.load(world.app.state.documents, rollout))[0].command.kind is CommandKind.ABORT


@dataclass
class NeverHealthy(Target):
    """Processes that never answer."""

    asked: anyio.Event = field(default_factory=anyio.Event)

    async def healthy(self, release):
        self.asked.set()
        return False


async def test_an_interrupted_rollback_stops_what_it_started_and_says_so_in_the_audit_log(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b)
    world.target = NeverHealthy()

    async with anyio.create_task_group() as group:
        group.start_soon(world.roll_back, a)
        await world.target.asked.wait()
        group.cancel_scope.cancel()

    assert world.target.stopped == [a]
    assert await world.audited() == [("rollback.started", a), ("rollback.abandoned", a)]
    await clear_left_over(world.app)
    assert len(await world.audited()) == 2


async def test_a_rollback_that_fails_is_told_from_one_that_was_abandoned(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(a)
    await world.promoted(b)

    async def broken(release):
        raise ConflictError("no room")

    world.target.start = broken
    with pytest.raises(ConflictError):
        await world.roll_back(a)

    assert await world.audited() == [("rollback.started", a), ("rollback.failed", a)]


async def test_a_rollback_that_was_killed_is_told_of_once_and_its_processes_are_not_started_again(world):
    a, b, c = await world.release("first"), await world.release("second"), await world.release("third")
    for stable in (b, a):
        await world.promoted(stable)
    await world.roll_back(b)
    await world.rows(a, b, c)
    left = {"release": a, "from_release": b, "actor": "user:ada"}
    await world.app.state.documents.put("rollback_under_way", "local", left)
    before = await world.audited()

    await clear_left_over(world.app)
    await clear_left_over(world.app)

    assert (await world.audited())[len(before) :] == [("rollback.abandoned", a)]
    assert await world.wanted() == {b}


async def test_processes_of_a_rollout_under_way_are_not_taken_for_left_over(world):
    a, b, c = await world.release("first"), await world.release("second"), await world.release("third")
    await world.promoted(a)
    await world.rollout(a, b, RolloutState.PAUSED)
    await world.rows(a, b, c)

    await clear_left_over(world.app)

    assert await world.wanted() == {a, b}


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(deployments, "_CONFIRM_TIMEOUT_S", 0.0)


async def unconfirmed(world, *releases):
    """Roll back to the first of releases while a worker does not obey."""
    for release in releases:
        await world.promoted(release)
    await world.reports(0)
    with pytest.raises(UnavailableError, match="not every gateway worker obeys"):
        await world.roll_back()


async def test_a_rollback_that_no_worker_confirms_in_time_is_written_down_as_unconfirmed(world, impatient):
    a, b = await world.release("first"), await world.release("second")

    await unconfirmed(world, a, b)

    assert await world.deployments() == [(a, "unconfirmed")]
    assert world.target.stopped == []


async def test_a_rollback_that_was_not_confirmed_is_repeated_instead_of_going_forward_and_completes_its_row(
    world, impatient
):
    a, b, c = [await world.release(name) for name in ("first", "second", "third")]
    await unconfirmed(world, a, b, c)

    plan = await plan_roll_back(world.app)
    assert (plan.release.id, plan.leaves) == (b, c)
    assert plan.lines == (f"rollback to {b} again: not every gateway worker has confirmed it",)
    await world.reports(0)
    with pytest.raises(UnavailableError):
        await world.roll_back()
    await world.reports(99)
    done = await world.roll_back(to=b)

    assert (done.release, await world.stable()) == (b, b)
    assert await world.deployments() == [(b, "confirmed")]
    assert world.target.stopped == [c]
    with pytest.raises(UsageError, match="rolled back already"):
        await world.roll_back()


async def test_another_rollback_to_the_same_release_later_has_a_row_of_its_own(world, impatient):
    a, b = await world.release("first"), await world.release("second")
    await unconfirmed(world, a, b)
    await world.promoted(b)
    await world.reports(99)

    await world.roll_back()
    assert await world.deployments() == [(a, "unconfirmed"), (a, "confirmed")]


async def test_rollbacks_of_a_version_before_count_as_confirmed(world):
    a, b = await world.release("first"), await world.release("second")
    await world.promoted(b)
    await world.promoted(a)
    row = {"release": a, "at_s": world.clock.now_s(), "actor": "user:ada", "kind": "rollback"}
    await world.app.state.documents.put("deployment", "local/1", row)
    with pytest.raises(UsageError, match="rolled back already"):
        await world.roll_back()


def http_release(command: list[str] | None) -> Release:
    route = {"kind": "http", "command": command, "url": None if command else "http://127.0.0.1:1"}
    manifest = {"policy": {"routes": {"ask": route}}}
    return Release(release_id(manifest), manifest, Provenance("user:ada", 1.0))


def test_a_release_with_processes_of_its_own_is_refused_while_nothing_would_start_them():
    with pytest.raises(ConflictError, match="not running") as refused:
        require_running(http_release(["serve"]), running=False)
    assert "`shipway up` first" in refused.value.hint


def test_a_release_without_processes_needs_nothing_to_run():
    require_running(http_release(None), running=False)
    require_running(http_release(["serve"]), running=True)
