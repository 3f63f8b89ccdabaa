from dataclasses import replace

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.ids import ReleaseId
from shipway.operations.supervision import ProcessState
from shipway.registry.model import Provenance, Release, release_id
from shipway.registry.store import ReleaseRegistry
from shipway.services.http_processes import ProcessTarget
from shipway.services.start_failures import StartFailures, StartWatch

pytestmark = pytest.mark.anyio
OTHER = ReleaseId("rel_b")


class World:
    """A supervisor's watch over one process of a release, and what the rollout controller is told of it."""

    def __init__(self, release: ReleaseId, store: MemoryStore) -> None:
        self.clock = ManualClock()
        self.release = release
        self.name = f"api-{release}"
        self.target = ProcessTarget(store.documents, "local")
        self.failures = StartFailures(store.documents, "local")
        self.watch = StartWatch(self.failures, self.clock)

    async def look(
        self, ends: int, *, healthy: bool = False, problem: str = "", last_exit: int | None = 3, attempt: int = 0
    ) -> None:
        state = ProcessState(self.name, restarts=ends, last_exit=last_exit, problem=problem, attempt=attempt)
        await self.watch.look([(self.name, self.release)], {self.name} if healthy else set(), [state])

    async def told(self, since_s: float = 0.0) -> str:
        return await self.target.problem(self.release, since_s=since_s)


@pytest.fixture
async def world() -> World:
    store = MemoryStore()
    route = {"kind": "http", "command": ["serve"], "health": "/healthz", "url": None}
    manifest = {"app": "shop", "policy": {"routes": {"api": route}}}
    release = Release(release_id(manifest), manifest, Provenance("ada", 1.0))
    return World((await ReleaseRegistry(store.documents).add(release))[0].id, store)


async def test_a_process_that_only_ends_is_told_of_with_its_exit_code_and_how_often_it_was_started(world):
    for ends in range(5):
        await world.look(ends)
        assert await world.told() == ""
    await world.look(5)
    assert await world.told() == (
        f"{world.name} ended 5 times and was never healthy (the last time with exit code 3);"
        f" `shipway logs {world.name}` says more"
    )
    assert await world.failures.problem(OTHER, since_s=0.0) == ""


async def test_a_program_that_cannot_be_started_is_told_of_with_why(world):
    await world.look(5, problem="cannot start 'serve': No such file or directory", last_exit=None)
    assert "ended 5 times and was never healthy (cannot start 'serve': No such file or directory)" in await world.told()


async def test_a_process_that_was_healthy_once_may_end_as_often_as_it_does(world):
    await world.look(1, healthy=True)
    await world.look(50)
    assert await world.told() == ""


async def test_a_process_that_gets_healthy_after_all_is_forgiven(world):
    await world.look(5)
    await world.look(6, healthy=True)
    assert await world.told() == ""


async def test_ends_from_before_a_rollout_do_not_count_against_it(world):
    await world.look(1)
    world.clock.advance(10.0)
    created_s = world.clock.now_s()
    await world.look(5)
    assert await world.told(since_s=created_s) == ""


async def test_a_process_that_is_wanted_again_has_its_starts_again(world):
    await world.look(5)
    await world.watch.look([], set(), [])
    world.clock.advance(10.0)
    again_s = world.clock.now_s()
    await world.look(0)
    await world.look(4)
    assert await world.told(since_s=again_s) == ""
    await world.look(5)
    assert "ended 5 times" in await world.told(since_s=again_s)


async def test_a_process_that_was_given_up_and_is_wanted_again_before_anybody_looked_has_its_starts_again(world):
    await world.look(5)
    world.clock.advance(10.0)
    again_s = world.clock.now_s()
    # The supervisor has not obeyed yet.
    await world.look(6)
    assert await world.told(since_s=again_s) == ""
    for ends in range(5):
        await world.look(ends, attempt=1)
    assert await world.told(since_s=again_s) == ""
    await world.look(5, attempt=1)
    assert "ended 5 times" in await world.told(since_s=again_s)


async def test_a_process_of_the_app_itself_is_not_looked_at(world):
    state = ProcessState("gateway", restarts=50, last_exit=1)
    await world.watch.look([(world.name, world.release)], set(), [state, replace(state, name=world.name, restarts=0)])
    assert await world.told() == ""
