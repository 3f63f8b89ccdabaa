import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError, FencedError, NotFoundError, UsageError
from shipway.core.snapshot import Snapshot
from shipway.gateway.auth import KeyRing
from shipway.gateway.replies import RefusedError
from shipway.services.access import authenticate
from shipway.services.application import Application, Workspace
from shipway.services.keys import KeyRequest, create_key, publish_keys, revoke_key, rotate_key

PROJECT = Project.model_validate({"app": "shop", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})


class ContestedSnapshots:
    """A snapshot store in which others write between each read and write, as often as told."""

    def __init__(self, store: Any, interruptions: int, *, epoch: int = 0) -> None:
        self._store = store
        self._left = interruptions
        self._epoch = epoch

    async def read(self, environment: str) -> Snapshot:
        found: Snapshot = await self._store.read(environment)
        if self._left:
            self._left -= 1
            changed = replace(found, epoch=found.epoch + self._epoch, config_digest=f"other {self._left}")
            await self._store.write(changed, expected_version=found.version)
        return found

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        written: Snapshot = await self._store.write(snapshot, expected_version=expected_version)
        return written


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def app(store: MemoryStore) -> Application:
    root = Path("project")
    return Application(
        LoadedProject(root, "local", PROJECT, {}), Workspace(root), store, ManualClock(1000.0), "user:test"
    )


@pytest.mark.anyio
async def test_a_key_is_in_the_snapshot_by_its_hash_and_nowhere_in_clear_text(app, store):
    made = await create_key(app, KeyRequest(tenant="acme", groups=("staff",), routes=("ask",), expires_in_s=60))

    (published,) = (await store.snapshots.read("local")).keys
    assert published == made.entry
    assert published.sha256 == hashlib.sha256(made.secret.encode()).hexdigest()
    assert published.expires_at_s == 1060.0
    assert made.secret not in repr([published, await store.keys.list(), await store.audit.entries()])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (KeyRequest("t", roles=("invoke", "root")), r"role 'root' is unknown\n  roles are invoke, operate, admin"),
        (KeyRequest("t", routes=("asc",)), r"route 'asc' is not in routes \(it has ask\)"),
        (KeyRequest(""), "a key needs a tenant"),
        (KeyRequest("t", groups=("public", " ")), "a group without a name"),
    ],
)
async def test_a_request_that_makes_no_sense_makes_no_key(app, store, request_, message):
    with pytest.raises(UsageError, match=message):
        await create_key(app, request_)

    assert await store.keys.list() == []
    assert await store.audit.entries() == []


@pytest.mark.anyio
async def test_keys_made_at_the_same_time_are_all_published(app, store):
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(create_key, app, KeyRequest(f"tenant{number}"))

    published = (await store.snapshots.read("local")).keys
    assert {key.tenant for key in published} == {f"tenant{number}" for number in range(8)}


@pytest.mark.anyio
@pytest.mark.parametrize("epoch", [0, 1])
async def test_a_key_is_published_although_a_controller_keeps_writing(app, store, epoch):
    inner = store.snapshots
    store.snapshots = ContestedSnapshots(inner, 3, epoch=epoch)

    made = await create_key(app, KeyRequest("acme"))

    snapshot = await inner.read("local")
    assert snapshot.keys == (made.entry,)
    assert snapshot.config_digest == "other 0"
    assert snapshot.epoch == 3 * epoch


@pytest.mark.anyio
async def test_publishing_gives_up_after_a_bounded_number_of_attempts(app, store):
    store.snapshots = ContestedSnapshots(store.snapshots, 1000)

    with pytest.raises(ConflictError, match="the snapshot kept changing; try again"):
        await publish_keys(app)


@pytest.mark.anyio
async def test_publishing_leaves_everything_else_in_the_snapshot_alone(app, store):
    await store.snapshots.write(Snapshot("local", epoch=4, dead_man_s=9.0, config_digest="d"), expected_version=0)

    await create_key(app, KeyRequest("acme"))

    snapshot = await store.snapshots.read("local")
    assert (snapshot.epoch, snapshot.dead_man_s, snapshot.config_digest, len(snapshot.keys)) == (4, 9.0, "d", 1)


@pytest.mark.anyio
async def test_a_revoked_key_leaves_the_snapshot_and_the_others_stay(app, store):
    first, second = await create_key(app, KeyRequest("a")), await create_key(app, KeyRequest("b"))

    await revoke_key(app, first.entry.key_id)

    assert (await store.snapshots.read("local")).keys == (second.entry,)
    assert [event.action for event in await store.audit.entries()] == ["key.created", "key.created", "key.revoked"]


@pytest.mark.anyio
async def test_revoking_what_is_not_in_force_is_not_found(app):
    made = await create_key(app, KeyRequest("a"))
    await revoke_key(app, made.entry.key_id)

    for key_id in (made.entry.key_id, "key_unknown"):
        with pytest.raises(NotFoundError, match=f"no key '{key_id}' in force"):
            await revoke_key(app, key_id)


class BrokenOnce(ContestedSnapshots):
    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        raise FencedError("a newer leader has written")


@pytest.mark.anyio
async def test_a_revocation_that_could_not_be_published_is_finished_by_repeating_it(app, store):
    made = await create_key(app, KeyRequest("a"))
    inner = store.snapshots
    store.snapshots = BrokenOnce(inner, 0)
    with pytest.raises(ConflictError):
        await revoke_key(app, made.entry.key_id)
    assert (await inner.read("local")).keys == (made.entry,)

    store.snapshots = inner
    await revoke_key(app, made.entry.key_id)

    assert (await inner.read("local")).keys == ()


@pytest.mark.anyio
async def test_a_rotated_key_opens_with_both_secrets_until_the_overlap_ends(app, store):
    made = await create_key(app, KeyRequest("acme"))
    app.clock.advance(10.0)

    rotated = await rotate_key(app, made.entry.key_id, overlap_s=60.0)

    (published,) = (await store.snapshots.read("local")).keys
    ring = KeyRing([published])
    for secret in (made.secret, rotated.secret):
        assert ring.caller(f"Bearer {secret}", now_s=1069.0).key.key_id == made.entry.key_id
    assert (await authenticate(store.keys, f"Bearer {made.secret}", app.clock)).subject == made.entry.key_id
    with pytest.raises(RefusedError) as caught:
        ring.caller(f"Bearer {made.secret}", now_s=1070.0)
    assert caught.value.code == "key_expired"
    ring.caller(f"Bearer {rotated.secret}", now_s=1070.0)
    assert published.rotated_at_s == 1010.0
    assert rotated.secret not in repr([published, await store.audit.entries()])


@pytest.mark.anyio
async def test_an_overlap_outlives_no_expiry(app, store):
    made = await create_key(app, KeyRequest("acme", expires_in_s=30.0))

    await rotate_key(app, made.entry.key_id, overlap_s=60.0)

    ring = KeyRing((await store.snapshots.read("local")).keys)
    with pytest.raises(RefusedError):
        ring.caller(f"Bearer {made.secret}", now_s=1030.0)


@pytest.mark.anyio
async def test_rotating_again_during_the_overlap_needs_the_overlap_to_be_ended(app, store):
    made = await create_key(app, KeyRequest("acme"))
    second = await rotate_key(app, made.entry.key_id, overlap_s=60.0)

    with pytest.raises(ConflictError, match="its old secret opens for 60 s"):
        await rotate_key(app, made.entry.key_id, overlap_s=60.0)
    third = await rotate_key(app, made.entry.key_id, overlap_s=0.0)

    ring = KeyRing((await store.snapshots.read("local")).keys)
    ring.caller(f"Bearer {third.secret}", now_s=1000.0)
    for secret in (made.secret, second.secret):
        with pytest.raises(RefusedError):
            ring.caller(f"Bearer {secret}", now_s=1000.0)


@pytest.mark.anyio
async def test_a_key_that_is_not_in_force_is_not_rotated(app):
    with pytest.raises(NotFoundError):
        await rotate_key(app, "key_unknown", overlap_s=0.0)
