import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import orjson
import pytest

from shipway.adapters.memory.store import MemoryRecords
from shipway.adapters.spool.collector import CollectorLimits, SpoolCollector
from shipway.adapters.spool.lines import HEADER, encoded
from shipway.adapters.spool.spool import RecordSpool, SpoolLimits
from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import ManualClock
from shipway.core.errors import StoreError
from shipway.core.record import ServedRequest

pytestmark = pytest.mark.anyio

QUICK = CollectorLimits(poll_s=0.0, turn_s=0.0, first_retry_s=0.0, longest_retry_s=0.0)
RECORD = ServedRequest("r", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)  # noqa: FBT003


class FailingRecords(MemoryRecords):
    """Fails as often as told, then works."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        super().__init__()
        self._failures = failures
        self._error = error or StoreError("locked")

    async def append(self, records, *, marks=None):
        if self._failures:
            self._failures -= 1
            raise self._error
        return await super().append(records, marks=marks)


class MeasuringRecords(MemoryRecords):
    """Keeps the size of every group."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []

    async def append(self, records, *, marks=None):
        self.groups.append(len(records))
        return await super().append(records, marks=marks)


class Notes:
    """What was noted, by event."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, event: str, **_values: object) -> None:
        self.events.append(event)


@pytest.fixture
def directory(tmp_path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


def collector_of(directory: Path, store, limits: CollectorLimits = QUICK, **more) -> SpoolCollector:
    lock_file = directory / "collector.lock"
    return SpoolCollector(directory, store, lock_file=lock_file, clock=ManualClock(), limits=limits, **more)


def spool_of(directory: Path, **limits) -> RecordSpool:
    return RecordSpool(directory, worker="w1", clock=ManualClock(), limits=SpoolLimits(**limits))


def add(spool: RecordSpool, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        spool.append(replace(RECORD, id=f"r{number}"))


def named(count: int) -> list[str]:
    return [f"r{number}" for number in range(count)]


def segments(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("*.jsonl"))


async def ids(store) -> list[str]:
    return [item.record.id for item in await store.after(0, environment="p", limit=1_000_000)]


def left_by_a_dead_worker(directory: Path, count: int, *, tail: bytes = b"", name: str = "0-dead") -> Path:
    path = directory / f"{name}.jsonl"
    path.write_bytes(HEADER + b"".join(encoded(replace(RECORD, id=f"r{n}")) for n in range(count)) + tail)
    return path


async def until(found) -> None:
    with anyio.fail_after(5):
        while not found():
            await anyio.lowlevel.checkpoint()


async def test_records_of_a_living_worker_are_collected_with_the_mark_behind_them_and_its_file_stays(directory):
    store, spool = MemoryRecords(), spool_of(directory)
    collector = collector_of(directory, store)
    for start in (0, 3):
        add(spool, 3, start)
        assert not await collector.collect()
        (path,) = directory.glob("*.jsonl")
        assert await store.marks() == {path.name: path.stat().st_size}
    assert await ids(store) == named(6)
    assert collector.stored == 6
    await spool.close()


async def test_a_sealed_segment_is_collected_to_its_end_and_deleted_and_its_mark_with_it(directory):
    store, spool = MemoryRecords(), spool_of(directory)
    collector = collector_of(directory, store)
    add(spool, 2)
    await collector.collect()
    add(spool, 2, start=2)
    await spool.close()
    await collector.collect()
    assert await ids(store) == named(4)
    assert (segments(directory), await store.marks()) == ([], {})


async def test_a_sealed_segment_that_was_collected_before_is_deleted(directory):
    store, spool = MemoryRecords(), spool_of(directory)
    collector = collector_of(directory, store)
    add(spool, 2)
    await collector.collect()
    await spool.close()
    await collector.collect()
    assert (segments(directory), await store.marks()) == ([], {})
    assert await ids(store) == named(2)


async def test_a_line_that_is_being_written_is_left_for_later(directory):
    store, spool = MemoryRecords(), spool_of(directory)
    collector = collector_of(directory, store)
    add(spool, 1)
    line = encoded(replace(RECORD, id="r1"))
    (path,) = directory.glob("*.jsonl")
    for part in (line[:20], line[20:]):
        assert await ids(store) in ([], ["r0"])
        with path.open("ab") as file:
            file.write(part)
        await collector.collect()
    assert await ids(store) == named(2)
    assert collector.torn == 0
    await spool.close()


async def test_what_a_dead_worker_left_is_collected_and_its_torn_last_line_counted(directory):
    left_by_a_dead_worker(directory, 5, tail=encoded(RECORD)[:-5])
    store, notes = MemoryRecords(), Notes()
    collector = collector_of(directory, store, note=notes)
    await collector.collect()
    assert await ids(store) == named(5)
    assert (collector.stored, collector.torn, segments(directory)) == (5, 1, [])
    assert notes.events == ["records_torn"]


async def test_what_an_earlier_version_left_is_collected(directory):
    (directory / "0-old.jsonl").write_bytes(orjson.dumps(replace(RECORD, id="r0")) + b"\n")
    store = MemoryRecords()
    await collector_of(directory, store).collect()
    assert await store.after(0, environment="p") != []
    assert segments(directory) == []


async def test_the_next_collector_goes_on_at_the_mark(directory):
    path = left_by_a_dead_worker(directory, 3)
    store = MemoryRecords()
    await store.append([], marks={path.name: len(HEADER) + len(encoded(replace(RECORD, id="r0")))})
    await collector_of(directory, store).collect()
    assert await ids(store) == ["r1", "r2"]


async def test_ids_that_the_store_has_are_skipped(directory):
    left_by_a_dead_worker(directory, 3)
    store = MemoryRecords()
    await store.append([replace(RECORD, id="r1")])
    collector = collector_of(directory, store)
    await collector.collect()
    assert await ids(store) == ["r1", "r0", "r2"]
    assert collector.stored == 2


async def test_the_marks_of_files_that_are_gone_are_forgotten_at_the_start(directory):
    left_by_a_dead_worker(directory, 1)
    store = MemoryRecords()
    await store.append([], marks={"gone.jsonl": 7})
    await collector_of(directory, store).collect()
    assert await store.marks() == {}


async def test_a_backlog_is_collected_in_groups_of_bounded_size_and_oldest_first(directory):
    clock = ManualClock()
    spool = RecordSpool(directory, worker="w1", clock=clock, limits=SpoolLimits(segment_bytes=3000))
    for number in range(500):
        add(spool, 1, number)
        clock.advance(0.01)
    store = MeasuringRecords()
    collector = collector_of(directory, store, replace(QUICK, group_bytes=2000))
    while await collector.collect():
        pass
    assert await ids(store) == named(500)
    assert max(store.groups) <= 2000 // len(encoded(RECORD)) + 1
    assert len(segments(directory)) == 1
    await spool.close()


async def test_one_group_takes_from_several_workers(directory):
    for name in ("0-a", "1-b"):
        left_by_a_dead_worker(directory, 0, tail=encoded(replace(RECORD, id=name)), name=name)
    store = MeasuringRecords()
    await collector_of(directory, store).collect()
    assert (await ids(store), store.groups) == (["0-a", "1-b"], [2])


async def test_a_group_that_the_store_refuses_stays_in_its_files(directory):
    path = left_by_a_dead_worker(directory, 2)
    store = FailingRecords(1)
    collector = collector_of(directory, store)
    with pytest.raises(StoreError):
        await collector.collect()
    assert path.exists()
    await collector.collect()
    assert await ids(store) == named(2)
    assert not path.exists()


@pytest.mark.parametrize("error", [StoreError("locked"), RuntimeError("a defect")])
async def test_a_store_that_fails_is_retried_and_counted_and_nothing_is_lost(directory, error):
    store, spool, notes, stop = FailingRecords(3, error), spool_of(directory), Notes(), anyio.Event()
    collector = collector_of(directory, store, note=notes)
    add(spool, 2)
    async with anyio.create_task_group() as group:
        group.start_soon(collector.run, stop)
        await until(lambda: "records_taken_again" in notes.events)
        stop.set()
    assert await ids(store) == named(2)
    assert collector.failures == 3
    assert str(error) in collector.last_error
    assert notes.events == ["collecting", "records_refused", "records_taken_again"]
    await spool.close()


async def test_a_file_that_cannot_be_read_does_not_keep_the_others_from_the_store(directory):
    (directory / "0-bad.jsonl").mkdir()
    left_by_a_dead_worker(directory, 2, name="1-good")
    store, notes = MemoryRecords(), Notes()
    collector = collector_of(directory, store, note=notes)
    await collector.collect()
    await collector.collect()
    assert await ids(store) == named(2)
    assert collector.failures == 2
    assert notes.events == ["records_unreadable"]


async def test_run_collects_what_comes_later_and_at_its_end_what_is_left(directory):
    store, spool, stop = MemoryRecords(), spool_of(directory), anyio.Event()
    collector = collector_of(directory, store, replace(QUICK, group_bytes=300))
    async with anyio.create_task_group() as group:
        group.start_soon(collector.run, stop)
        for start in (0, 3):
            add(spool, 3, start)
            await until(lambda: collector.stored == start + 3)  # noqa: B023 - called at once
        add(spool, 20, start=6)
        await spool.close()
        stop.set()
    assert await ids(store) == named(26)
    assert segments(directory) == []


async def test_the_end_waits_for_a_store_that_fails_for_a_moment(directory):
    left_by_a_dead_worker(directory, 2)
    store, stop = FailingRecords(2), anyio.Event()
    stop.set()
    await collector_of(directory, store).run(stop)
    assert await ids(store) == named(2)


async def test_the_end_does_not_wait_for_ever_and_leaves_the_rest_to_the_next_start(directory):
    path = left_by_a_dead_worker(directory, 2)
    stop = anyio.Event()
    stop.set()
    await collector_of(directory, FailingRecords(10**9), replace(QUICK, close_s=0.01)).run(stop)
    assert path.exists()
    store = MemoryRecords()
    await collector_of(directory, store).run(stop)
    assert await ids(store) == named(2)


async def test_a_second_collector_waits_and_goes_on_when_the_first_ends(directory):
    store, spool = MemoryRecords(), spool_of(directory)
    stops = [anyio.Event(), anyio.Event()]
    notes = [Notes(), Notes()]
    first, second = (collector_of(directory, store, note=note) for note in notes)
    async with anyio.create_task_group() as group:
        group.start_soon(first.run, stops[0])
        await until(lambda: notes[0].events == ["collecting"])
        group.start_soon(second.run, stops[1])
        add(spool, 3)
        await until(lambda: first.stored == 3)
        assert (second.stored, notes[1].events) == (0, [])
        stops[0].set()
        await until(lambda: notes[1].events == ["collecting"])
        add(spool, 3, start=3)
        await until(lambda: second.stored == 3)
        stops[1].set()
    assert await ids(store) == named(6)
    await spool.close()


async def test_two_that_collect_at_once_store_each_record_once(directory):
    spool, store = spool_of(directory, segment_bytes=2000), MemoryRecords()
    first, second = (collector_of(directory, store, replace(QUICK, group_bytes=700)) for _ in range(2))
    for start in range(0, 100, 10):
        add(spool, 10, start)
        async with anyio.create_task_group() as group:
            group.start_soon(first.collect)
            group.start_soon(second.collect)
    await spool.close()
    while await first.collect() or await second.collect():
        pass
    assert sorted(await ids(store)) == sorted(named(100))
    assert segments(directory) == []


GATEWAY = """
import asyncio, os, sys
from dataclasses import replace
from pathlib import Path
from shipway.adapters.spool.spool import RecordSpool, SpoolLimits
from shipway.core.clock import SystemClock
from shipway.core.record import ServedRequest

RECORD = ServedRequest("r", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)

async def main():
    limits = SpoolLimits(segment_bytes=9_000, segment_s=0.02, look_s=0.005)
    spool = RecordSpool(Path(sys.argv[1]), worker="w", clock=SystemClock(), limits=limits)
    running = asyncio.create_task(spool.run())
    number = 0
    while True:
        await spool.wait_for_room()
        spool.append(replace(RECORD, id=f"{sys.argv[2]}-{number}"))
        os.write(1, f"{sys.argv[2]}-{number}\\n".encode())
        number += 1
        await asyncio.sleep(0)

asyncio.run(main())
"""

CONTROL = """
import asyncio, sys
from pathlib import Path
import anyio
from shipway.adapters.spool.collector import CollectorLimits, SpoolCollector
from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import SystemClock

async def main():
    store = await SqlStore.open(Path(sys.argv[1]))
    directory = Path(sys.argv[2])
    limits = CollectorLimits(group_bytes=1_000, poll_s=0.0, turn_s=0.001)
    note = lambda event, **values: print(event, flush=True)
    lock_file, clock = directory / "collector.lock", SystemClock()
    collector = SpoolCollector(directory, store.records, lock_file=lock_file, clock=clock, limits=limits, note=note)
    await collector.run(anyio.Event())

asyncio.run(main())
"""


def started(program: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE)


async def test_no_acknowledged_record_is_lost_or_doubled_when_gateway_and_control_are_killed(tmp_path, directory):
    state = tmp_path / "state.db"
    store = await SqlStore.open(state, create=True)
    draws = random.Random(20_251_121)
    acknowledged: list[str] = []
    for number in range(3):
        with started(CONTROL, state, directory) as control, started(GATEWAY, directory, f"w{number}") as gateway:
            assert control.stdout.readline() == b"collecting\n"
            seen = [gateway.stdout.readline() for _ in range(draws.randrange(1, 900))]
            victims = [control, gateway]
            draws.shuffle(victims)
            victims[0].kill()
            seen += [gateway.stdout.readline() for _ in range(draws.randrange(1, 50)) if victims[0] is control]
            victims[1].kill()
            seen += gateway.stdout.readlines()
        acknowledged += [line.decode().strip() for line in seen if line.endswith(b"\n")]
    stop = anyio.Event()
    stop.set()
    await collector_of(directory, store.records).run(stop)
    stored = await ids(store.records)
    marks = await store.records.marks()
    await store.close()
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    assert len(stored) <= len(acknowledged) + 5
    assert (segments(directory), marks) == ([], {})
