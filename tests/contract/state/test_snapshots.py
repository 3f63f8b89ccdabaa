import asyncio
from dataclasses import replace

import pytest

from shipway.core.errors import ConflictError, FencedError
from shipway.core.ids import ReleaseId, RolloutId, RouteName
from shipway.core.ports import WorkerState
from shipway.core.snapshot import KeyEntry, RouteTraffic, Snapshot

pytestmark = pytest.mark.anyio

FULL = Snapshot(
    environment="production",
    epoch=3,
    routes=(
        RouteTraffic(
            RouteName("ask"), ReleaseId("rel_a"), ReleaseId("rel_b"), 0.25, "salt", (("rel_a", "http://127.0.0.1:1"),)
        ),
    ),
    keys=(KeyEntry("key_1", "ab", "acme", ("staff",), ("invoke",), ("ask",), 99.0),),
    rollout=RolloutId("rol_1"),
    config_digest="sha256:1",
)


async def test_an_environment_without_a_snapshot_reads_as_version_zero(store):
    assert await store.snapshots.read("staging") == Snapshot(environment="staging")


async def test_a_snapshot_is_read_back_whole_with_its_new_version(store):
    written = await store.snapshots.write(FULL, expected_version=0)
    assert written == replace(FULL, version=1)
    assert await store.snapshots.read("production") == written


async def test_environments_do_not_share_a_version(store):
    await store.snapshots.write(FULL, expected_version=0)
    assert (await store.snapshots.write(replace(FULL, environment="staging"), expected_version=0)).version == 1


@pytest.mark.parametrize("expected", [0, 2])
async def test_a_write_that_expects_another_version_conflicts_and_changes_nothing(store, expected):
    written = await store.snapshots.write(FULL, expected_version=0)
    with pytest.raises(ConflictError, match="has version 1"):
        await store.snapshots.write(replace(FULL, config_digest="x"), expected_version=expected)
    assert await store.snapshots.read("production") == written


async def test_a_write_onto_nothing_that_expects_something_conflicts(store):
    with pytest.raises(ConflictError, match="has version 0"):
        await store.snapshots.write(FULL, expected_version=4)


async def test_of_two_writers_at_once_exactly_one_wins(store):
    await store.snapshots.write(FULL, expected_version=0)
    drafts = [replace(FULL, config_digest=f"sha256:{number}") for number in range(8)]
    results = await asyncio.gather(
        *(store.snapshots.write(draft, expected_version=1) for draft in drafts), return_exceptions=True
    )
    winners = [result for result in results if isinstance(result, Snapshot)]
    assert len(winners) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 7
    assert await store.snapshots.read("production") == winners[0]


@pytest.mark.parametrize("expected", [0, 1])
async def test_a_stale_epoch_is_fenced_whatever_version_it_expects(store, expected):
    written = await store.snapshots.write(FULL, expected_version=0)
    with pytest.raises(FencedError, match="epoch 3"):
        await store.snapshots.write(replace(FULL, epoch=2), expected_version=expected)
    assert await store.snapshots.read("production") == written


async def test_a_newer_epoch_takes_over(store):
    await store.snapshots.write(FULL, expected_version=0)
    assert (await store.snapshots.write(replace(FULL, epoch=4), expected_version=1)).epoch == 4


async def test_a_worker_is_listed_with_its_last_report(store):
    await store.snapshots.report(WorkerState("w2", "production", 1, 1, 100.0))
    await store.snapshots.report(WorkerState("w1", "production", 1, 1, 100.0))
    await store.snapshots.report(WorkerState("w1", "production", 2, 1, 110.0, dead_man_tripped=True, busy=True))
    await store.snapshots.report(WorkerState("w1", "staging", 9, 1, 110.0))
    found = await store.snapshots.workers("production", seen_after_s=100.0)
    assert found == [
        WorkerState("w1", "production", 2, 1, 110.0, dead_man_tripped=True, busy=True),
        WorkerState("w2", "production", 1, 1, 100.0),
    ]


async def test_a_silent_worker_is_not_listed(store):
    await store.snapshots.report(WorkerState("w1", "production", 1, 1, 100.0))
    assert await store.snapshots.workers("production", seen_after_s=100.1) == []
