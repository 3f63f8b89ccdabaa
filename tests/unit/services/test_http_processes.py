import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.core.errors import FencedError
from shipway.core.ids import ReleaseId
from shipway.core.ports import Fence
from shipway.registry.model import Provenance, Release, release_id
from shipway.registry.store import ReleaseRegistry
from shipway.services.http_processes import ProcessRow, ProcessTarget, stop_due
from shipway.services.rollouts import RegistryLabels

pytestmark = pytest.mark.anyio
LEASE = "rollouts/local"


class World:
    """A store with one release that has a process, and leaders one after another."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.registry = ReleaseRegistry(self.store.documents)
        self.target = ProcessTarget(self.store.documents, "local")
        self.now_s = 100.0

    async def release(self, name: str) -> ReleaseId:
        route = {"kind": "http", "command": ["serve"], "health": "/healthz", "url": None}
        manifest = {"app": name, "policy": {"routes": {"api": route}}}
        return (await self.registry.add(Release(release_id(manifest), manifest, Provenance("ada", 1.0))))[0].id

    async def leads(self, holder: str) -> Fence:
        """Let somebody lead after the leader before has been silent for too long."""
        self.now_s += 100.0
        lease = await self.store.leases.acquire(LEASE, holder, ttl_s=5.0, now_s=self.now_s)
        return Fence(LEASE, lease.epoch)

    async def wanted(self, release: ReleaseId) -> bool | None:
        found = await self.store.documents.get("process", f"local/api/{release}")
        return found and found[0]["wanted"]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_former_leader_starts_no_process(world):
    release = await world.release("a")
    former = await world.leads("a")
    await world.leads("b")
    with pytest.raises(FencedError, match="rollouts/local has epoch 2; epoch 1 may not write"):
        await world.target.start(release, fence=former)
    assert await world.wanted(release) is None


async def test_a_former_leader_stops_no_process(world):
    release = await world.release("a")
    former = await world.leads("a")
    await world.target.start(release, fence=former)
    newer = await world.leads("b")
    with pytest.raises(FencedError):
        await world.target.stop(release, fence=former)
    assert await world.wanted(release) is True
    await world.target.stop(release, fence=newer)
    assert await world.wanted(release) is False


async def test_leadership_that_is_lost_between_looking_and_writing_is_noticed(world):
    release = await world.release("a")
    former = await world.leads("a")
    await world.target.start(release, fence=former)
    inner = world.store.documents.get

    async def slow(kind, key):
        found = await inner(kind, key)
        if kind == "process":
            await world.leads("b")
        return found

    world.store.documents.get = slow
    with pytest.raises(FencedError):
        await world.target.stop(release, fence=former)
    world.store.documents.get = inner
    assert await world.wanted(release) is True


async def test_a_command_of_a_user_needs_no_leadership(world):
    release = await world.release("a")
    await world.leads("a")
    await world.target.start(release)
    await world.target.stop(release)
    assert await world.wanted(release) is False


async def test_only_a_process_that_was_given_up_before_it_was_healthy_starts_anew(world):
    release = await world.release("a")
    key = f"local/api/{release}"
    attempts = []
    for healthy in (False, True, False):
        await world.target.start(release)
        row, version = await world.store.documents.get("process", key)
        await world.store.documents.put("process", key, row | {"healthy": healthy}, expected_version=version)
        await world.target.stop(release)
        await world.target.start(release)
        attempts.append((await world.store.documents.get("process", key))[0]["attempt"])
        await world.store.documents.put(
            "process", key, (await world.store.documents.get("process", key))[0] | {"healthy": True}
        )
        await world.target.stop(release)
    assert attempts == [1, 1, 2]


async def test_a_process_that_is_to_stop_later_is_wanted_until_then_and_a_start_keeps_it(world):
    release = await world.release("a")
    key = f"local/api/{release}"
    await world.target.stop(release, at_s=200.0)
    assert await world.wanted(release) is None
    await world.target.start(release)
    await world.target.stop(release, at_s=200.0)
    row = ProcessRow.from_dict((await world.store.documents.get("process", key))[0])
    await stop_due(world.store.documents, row, 199.0)
    assert await world.wanted(release) is True
    await world.target.start(release)
    await stop_due(world.store.documents, row, 201.0)
    assert await world.wanted(release) is True
    await world.target.stop(release, at_s=200.0)
    await stop_due(world.store.documents, row, 201.0)
    assert await world.wanted(release) is False


async def test_what_the_supervisor_writes_meanwhile_does_not_keep_a_process_from_being_stopped(world):
    release = await world.release("a")
    await world.target.start(release)
    get, seen = world.store.documents.get, []

    async def overtaken(kind, key):
        found = await get(kind, key)
        if kind == "process" and len(seen) < 3:
            seen.append(key)
            await world.store.documents.put(kind, key, found[0] | {"problem": f"{len(seen)}"})
        return found

    world.store.documents.get = overtaken
    await world.target.stop(release)
    assert (len(seen), await world.wanted(release)) == (3, False)


async def test_a_former_leader_does_not_say_which_release_is_stable(world):
    a, b = await world.release("a"), await world.release("b")
    labels = RegistryLabels(world.registry, lambda: 1.0)
    former = await world.leads("a")
    await labels.set("local", a, fence=former)
    newer = await world.leads("b")
    with pytest.raises(FencedError):
        await labels.set("local", b, fence=former)
    assert await world.registry.label("local") == a
    await labels.set("local", b, fence=newer)
    assert await world.registry.label("local") == b
