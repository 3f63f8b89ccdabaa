"""A rollback beside another rollback, a deploy or requests under way: what is served and what is said stay the same."""

import pytest
from tests.unit.services.rollback_world import World

from shipway.core.errors import ConflictError
from shipway.rollouts import desk
from shipway.rollouts.model import RolloutState
from shipway.rollouts.plan import Plan, Step
from shipway.services.deployments import DeployPlan, apply_deploy
from shipway.services.rollbacks import apply_roll_back, plan_roll_back
from shipway.services.under_way import mark_rollback, rollback_under_way

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world():
    """Return a world in which three releases were stable, the last one now."""
    made = World()
    made.a, made.b, made.c = [await made.release(name) for name in ("first", "second", "third")]
    for release in (made.a, made.b, made.c):
        await made.promoted(release)
    return made


async def deploy(world, candidate, stable):
    """Start a rollout by a plan that was made while a release was stable."""
    plan = Plan(steps=(Step(0.5, min_bake_s=0.0), Step(1.0, min_bake_s=0.0)))
    release = await world.app.releases.get(candidate)
    await apply_deploy(world.app, DeployPlan(release, "rollout", stable, plan, "", "", ()), world.target)


@pytest.mark.parametrize("drain_s", [None, 7.0])
async def test_the_release_that_is_left_ends_the_requests_that_it_has(world, drain_s):
    if drain_s is not None:
        await world.rollout(world.b, world.c, RolloutState.COMPLETED, drain_s=drain_s)
        await world.promoted(world.c)

    await world.roll_back(to=world.b)

    assert world.target.until_s == {world.c: world.clock.now_s() + (drain_s or 30.0)}


async def test_of_two_rollbacks_at_once_the_label_follows_the_traffic_and_one_is_told(world):
    first = await plan_roll_back(world.app, to=world.a)
    second = await plan_roll_back(world.app, to=world.b)
    registry = type(world.app.releases)
    set_label = registry.set_label

    async def overtaken(self, environment, release, **fields):
        """Let the second rollback do all of its work between the first one's traffic and its label."""
        if release == world.a and not world.target.stopped:
            await apply_roll_back(world.app, second, world.target)
        return await set_label(self, environment, release, **fields)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "set_label", overtaken)
        with pytest.raises(ConflictError, match=f"{world.b} was made stable at the same moment"):
            await apply_roll_back(world.app, first, world.target)

    assert await world.stable() == world.b
    assert await world.app.releases.label("local") == world.b
    assert world.target.until_s[world.a] is None
    assert ("rollback.failed", world.a) in await world.audited()
    assert await rollback_under_way(world.app) is None


async def test_a_rollout_that_was_started_meanwhile_keeps_the_traffic(world):
    plan = await plan_roll_back(world.app, to=world.a)

    async def healthy(release):
        if not await desk.unsettled(world.app.state.documents, "local"):
            await world.rollout(world.c, world.b, RolloutState.PROGRESSING)
        return True

    world.target.healthy = healthy
    with pytest.raises(ConflictError, match="is progressing in local"):
        await apply_roll_back(world.app, plan, world.target)

    assert (await world.app.state.snapshots.read("local")).routes == ()
    assert world.target.stopped == [world.a]


async def test_nobody_deploys_while_a_rollback_is_under_way_but_one_that_was_killed_is_forgotten(world):
    await mark_rollback(world.app, world.a, world.c)
    with pytest.raises(ConflictError, match=f"user:ada is rolling local back to {world.a}"):
        await deploy(world, world.b, world.c)
    assert await desk.unsettled(world.app.state.documents, "local") == []

    world.clock.advance(180.0)
    await deploy(world, world.b, world.c)
    assert len(await desk.unsettled(world.app.state.documents, "local")) == 1


async def test_a_plan_whose_stable_release_is_stable_no_longer_starts_nothing(world):
    await world.roll_back(to=world.a)
    with pytest.raises(ConflictError, match=f"{world.a} has become stable in local meanwhile, not {world.c}"):
        await deploy(world, world.b, world.c)
    assert await desk.unsettled(world.app.state.documents, "local") == []


async def test_a_rollout_that_is_stored_while_a_rollback_begins_is_taken_back(world):
    documents = world.app.state.documents
    put = documents.put

    async def interrupted(kind, key, body, **fields):
        version = await put(kind, key, body, **fields)
        if kind == desk.KIND:
            await mark_rollback(world.app, world.a, world.c)
        return version

    documents.put = interrupted
    with pytest.raises(ConflictError, match="is rolling local back"):
        await deploy(world, world.b, world.c)

    assert await desk.unsettled(documents, "local") == []
    assert await documents.list(desk.KIND) == []
    assert world.target.stopped == [world.b]
