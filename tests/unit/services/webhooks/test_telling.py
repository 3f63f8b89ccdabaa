"""Telling GitHub and GitLab how runs stand."""

import anyio
import pytest
from tests.unit.pipeline.webhooks.payloads import A, B
from tests.unit.services.webhooks.hooks import Hook, World, settings, until

from shipway.core.errors import UnavailableError, UpstreamError
from shipway.pipeline.webhooks.model import EntryState

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hook() -> Hook:
    return await Hook(settings=settings(rules=[{"branch": "*"}])).opened()


async def told(hook: Hook, world: World) -> None:
    """Tell until everything that can be told is."""
    async with anyio.create_task_group() as group:
        teller = world.teller(hook)
        group.start_soon(teller.run)
        await until(
            lambda: all(
                entry.told == entry.state or (hook.notes[-1:] and hook.notes[-1][0] == "webhook_status_lost")
                for entry in hook.queue.entries()
            )
        )
        group.cancel_scope.cancel()


async def test_the_state_of_a_run_is_told_once(hook):
    await hook.pushed(A)
    world = World({})
    await told(hook, world)
    await told(hook, world)

    assert world.sent == [(A, "queued")]


async def test_what_the_last_receiver_had_not_told_the_next_one_tells(hook):
    run = await hook.pushed(A)
    await hook.queue.update(run, state=EntryState.PASSED)
    later, world = await hook.reopened(), World({})
    await told(later, world)

    assert world.sent == [(A, "passed")]


@pytest.mark.parametrize(
    "error", [UnavailableError("gone"), UpstreamError("busy", status=503), UpstreamError("slow", status=429)]
)
async def test_a_status_that_was_not_taken_is_sent_again(hook, error):
    await hook.pushed(A)
    world = World({}, refusals=[error, error])
    await told(hook, world)

    assert world.sent == [(A, "queued")]
    assert world.slept == [0.0, 2.0, 10.0]


async def test_a_status_that_is_refused_for_good_is_a_line_and_not_in_the_way_of_others(hook):
    await hook.pushed(A, "a")
    await hook.pushed(B, "b")
    world = World({}, refusals=[UpstreamError("no such repository", status=404)])
    async with anyio.create_task_group() as group:
        group.start_soon(world.teller(hook).run)
        await until(lambda: world.sent == [(B, "queued")])
        group.cancel_scope.cancel()

    lost = [fields for event, fields in hook.notes if event == "webhook_status_lost"]
    assert [fields["error"] for fields in lost] == ["no such repository"]


async def test_a_provider_that_never_answers_is_given_up_and_the_queue_goes_on(hook):
    await hook.pushed(A)
    world = World({"refs/heads/main": A}, {A: 0}, refusals=[UnavailableError("gone")] * 1000)
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(world.teller(hook).run)
        group.start_soon(world.worker(hook).run, stop)
        await until(lambda: hook.states() == ["passed"])
        stop.set()
        group.cancel_scope.cancel()

    assert world.sent == []
