"""The snapshot watcher in virtual time: each `tick` is one poll."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from shipway.core.clock import ManualClock
from shipway.core.errors import UnavailableError
from shipway.core.ports import WorkerState
from shipway.core.snapshot import KeyEntry, RouteTraffic, Snapshot
from shipway.gateway.serving import LoadedRelease, Serving
from shipway.gateway.watch import SnapshotWatcher

STABLE = Snapshot("test", version=1, epoch=1, routes=(RouteTraffic("r", "rel_a"),), dead_man_s=60.0)


def with_candidate(version: int, weight: float, epoch: int = 1) -> Snapshot:
    traffic = RouteTraffic("r", "rel_a", candidate="rel_b", candidate_weight=weight)
    return replace(STABLE, version=version, epoch=epoch, routes=(traffic,))


class Runtime:
    routes: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.closed = False

    def describe(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        self.closed = True


class Stage:
    """A watcher with every port played by this object."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.snapshot = STABLE
        self.beat: int | None = 1
        self.store_down = False
        self.reports: list[WorkerState] = []
        self.notes: list[str] = []
        self.loads: list[str] = []
        self.runtimes: dict[str, Runtime] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()
        self.serving = Serving(self.note)
        self.watcher = SnapshotWatcher(self, self, self, self.serving, worker="w", clock=self.clock, note=self.note)

    def note(self, event: str, **_fields: object) -> None:
        self.notes.append(event)

    async def read(self) -> Snapshot:
        if self.store_down:
            raise OSError("locked")
        return self.snapshot

    async def read_heartbeat(self) -> int | None:
        return self.beat

    async def report(self, state: WorkerState) -> None:
        self.reports.append(state)

    async def load(self, release: str) -> Runtime:
        self.loads.append(release)
        if release in self.gates:
            await self.gates[release].wait()
        if release in self.failing:
            raise UnavailableError("no such model file")
        self.runtimes[release] = Runtime()
        return self.runtimes[release]

    async def tick(self, turns: int = 1) -> None:
        for _ in range(turns):
            await self.watcher.tick()
            for _ in range(5):
                await asyncio.sleep(0)

    @property
    def version(self) -> int:
        return self.serving.current.snapshot.version if self.serving.current else 0

    @property
    def weight(self) -> float:
        assert self.serving.current is not None
        return self.serving.current.served.routes[0].candidate_weight


@pytest.fixture
async def stage() -> Stage:
    made = Stage()
    await made.tick(2)
    assert made.version == 1
    return made


async def test_a_new_release_is_prepared_beside_the_traffic_and_then_swapped_in_and_reported(stage):
    stage.gates["rel_b"] = asyncio.Event()
    stage.snapshot = with_candidate(2, 0.1)
    await stage.tick(3)
    assert (stage.version, stage.reports[-1].version) == (1, 1)
    stage.gates["rel_b"].set()
    await stage.tick(2)
    assert (stage.version, stage.reports[-1].version, stage.loads) == (2, 2, ["rel_a", "rel_b"])


async def test_a_rollback_is_applied_in_the_same_poll_while_something_else_is_being_loaded(stage):
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(2)
    stage.gates["rel_c"] = asyncio.Event()
    stage.snapshot = replace(with_candidate(3, 0.5), routes=(RouteTraffic("r", "rel_a", "rel_c", 0.9),))
    await stage.tick(2)
    assert stage.version == 2
    stage.snapshot = replace(STABLE, version=4)
    await stage.watcher.tick()
    assert (stage.version, stage.reports[-1].version, stage.weight) == (4, 4, 0.0)
    stage.gates["rel_c"].set()
    await stage.tick(2)
    assert stage.version == 4


async def test_a_release_that_left_is_closed_after_its_last_request(stage):
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(2)
    loaded = stage.serving.current.releases["rel_b"]
    loaded.enter()
    stage.snapshot = replace(STABLE, version=3)
    await stage.tick(2)
    assert stage.version == 3
    assert not stage.runtimes["rel_b"].closed
    loaded.leave()
    await stage.tick()
    assert stage.runtimes["rel_b"].closed
    assert not stage.runtimes["rel_a"].closed


async def test_a_lower_epoch_is_refused_and_said_once(stage):
    stage.snapshot = with_candidate(5, 0.0, epoch=3)
    await stage.tick(2)
    stage.snapshot = with_candidate(9, 1.0, epoch=2)
    await stage.tick(3)
    assert (stage.version, stage.reports[-1].epoch) == (5, 3)
    assert stage.notes.count("snapshot_refused") == 1


async def test_a_stable_release_that_cannot_be_loaded_keeps_the_old_snapshot(stage):
    stage.failing.add("rel_b")
    stage.snapshot = replace(STABLE, version=2, routes=(RouteTraffic("r", "rel_b"),))
    await stage.tick(5)
    assert (stage.version, stage.reports[-1].version) == (1, 1)


async def test_later_snapshots_are_obeyed_at_once_although_a_candidate_cannot_be_loaded(stage):
    stage.failing.add("rel_b")
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(3)
    revoked = KeyEntry("key_1", "0" * 64, "t", (), ("invoke",), expires_at_s=1.0)
    stage.snapshot = replace(with_candidate(3, 0.5), keys=(revoked,))
    await stage.watcher.tick()
    assert (stage.version, stage.serving.current.served.keys) == (3, (revoked,))
    assert stage.serving.current.served.routes == (RouteTraffic("r", "rel_a"),)
    stage.snapshot = replace(STABLE, version=4)
    await stage.watcher.tick()
    assert (stage.version, stage.reports[-1].version) == (4, 4)


async def test_a_new_worker_serves_stable_although_it_cannot_load_the_candidate():
    stage = Stage()
    stage.failing.add("rel_b")
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(3)
    assert stage.serving.current.served.routes == (RouteTraffic("r", "rel_a"),)
    assert stage.reports[-1].version == 0


async def test_a_candidate_that_cannot_be_loaded_is_not_reported_as_obeyed_and_is_tried_again_later(stage):
    stage.failing.add("rel_b")
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(5)
    assert (stage.version, stage.weight, stage.reports[-1].version) == (2, 0.0, 1)
    assert stage.notes.count("snapshot_applied_in_part") == 1
    assert stage.loads.count("rel_b") == 1
    assert "release_not_loaded" in stage.notes
    stage.failing.clear()
    stage.clock.advance(5.0)
    await stage.tick(2)
    assert (stage.version, stage.weight, stage.reports[-1].version) == (2, 0.5, 2)


async def test_a_shadow_that_cannot_be_loaded_holds_nothing_up_and_is_tried_again_later(stage):
    stage.failing.add("rel_s")
    shadowed = RouteTraffic("r", "rel_a", shadow="rel_s", shadow_share=0.5)
    stage.snapshot = replace(STABLE, version=2, routes=(shadowed,))
    await stage.tick(5)
    assert (stage.version, stage.reports[-1].version) == (2, 2)
    assert "release_not_loaded" in stage.notes
    stage.failing.clear()
    stage.clock.advance(5.0)
    await stage.tick(2)
    assert "rel_s" in stage.serving.current.releases


async def test_a_store_without_any_snapshot_is_told_apart_from_one_that_is_still_being_applied():
    stage = Stage()
    stage.snapshot = Snapshot("test")
    await stage.tick()
    assert stage.serving.unwritten
    stage.snapshot = STABLE
    await stage.watcher.tick()
    assert not stage.serving.unwritten


async def test_a_silent_control_takes_candidates_out_and_its_next_beat_lets_them_in(stage):
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(2)
    stage.clock.advance(60.0)
    await stage.tick()
    assert stage.weight == 0.5
    stage.clock.advance(0.5)
    await stage.tick()
    assert (stage.weight, stage.version) == (0.0, 2)
    assert stage.reports[-1].dead_man_tripped
    assert "dead_man_tripped" in stage.notes
    stage.snapshot = with_candidate(3, 0.7)
    await stage.tick()
    assert (stage.weight, stage.version) == (0.0, 3)
    stage.beat = 2
    await stage.tick()
    assert (stage.weight, stage.reports[-1].dead_man_tripped) == (0.7, False)


async def test_a_store_that_cannot_be_read_counts_as_silence_and_not_as_a_new_state(stage):
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(2)
    stage.store_down = True
    stage.clock.advance(61.0)
    await stage.tick(3)
    assert (stage.version, stage.weight, stage.serving.store_reachable) == (2, 0.0, False)
    assert stage.notes.count("snapshot_not_read") == 1


async def test_silence_without_a_candidate_in_traffic_changes_nothing(stage):
    stage.clock.advance(1000.0)
    await stage.tick()
    assert not stage.serving.current.dead_man_tripped


async def test_a_leader_that_resigns_is_silence(stage):
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick(2)
    stage.beat = None
    stage.clock.advance(61.0)
    await stage.tick()
    assert stage.serving.current.dead_man_tripped


async def test_the_worker_reports_now_and_then_although_nothing_changed(stage):
    before = len(stage.reports)
    await stage.tick(3)
    assert len(stage.reports) == before
    stage.clock.advance(1.0)
    await stage.tick()
    assert len(stage.reports) == before + 1


async def test_what_was_loading_when_the_worker_stops_is_given_up(stage):
    stage.gates["rel_b"] = asyncio.Event()
    stage.snapshot = with_candidate(2, 0.5)
    running = asyncio.ensure_future(stage.watcher.run())
    for _ in range(10):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await stage.serving.close()
    assert stage.runtimes["rel_a"].closed
    assert "rel_b" not in stage.runtimes


async def anew(stage: Stage, *names: str) -> dict[str, LoadedRelease]:
    return {name: LoadedRelease(name, Runtime()) for name in names}


async def test_releases_that_were_loaded_anew_take_the_place_of_the_former_ones_in_one_step(stage):
    former = stage.serving.current.releases["rel_a"]
    former.enter()
    releases = await anew(stage, "rel_a")

    assert stage.watcher.in_traffic() == {"rel_a"}
    assert stage.watcher.swap(stage, releases) == [former]

    assert stage.serving.current.releases["rel_a"] is releases["rel_a"]
    assert stage.version == 1
    await stage.tick()
    assert not stage.runtimes["rel_a"].closed
    former.leave()
    await stage.tick()
    assert stage.runtimes["rel_a"].closed


async def test_a_release_that_was_not_loaded_anew_stays_as_it_is(stage):
    former = stage.serving.current.releases["rel_a"]

    assert stage.watcher.swap(stage, await anew(stage, "rel_other")) == []
    assert stage.serving.current.releases == {"rel_a": former}


async def test_what_was_loading_by_the_former_loader_is_loaded_again_by_the_new_one(stage):
    stage.gates["rel_b"] = asyncio.Event()
    stage.snapshot = with_candidate(2, 0.5)
    await stage.tick()
    other = Stage()

    stage.watcher.swap(other, await anew(stage, "rel_a"))
    await stage.tick(2)

    assert other.loads == ["rel_b"]
    assert stage.serving.current.releases["rel_b"].runtime is other.runtimes["rel_b"]
    assert "rel_b" not in stage.runtimes
