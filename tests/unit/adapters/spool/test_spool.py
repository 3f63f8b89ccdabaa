import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import orjson
import pytest

from shipway.adapters.memory.store import MemoryRecords
from shipway.adapters.spool.spool import RecordSpool, SpoolLimits
from shipway.adapters.spool.takeover import Recovery
from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import ManualClock
from shipway.core.errors import StoreError, UnavailableError
from shipway.core.record import ServedRequest

pytestmark = pytest.mark.anyio

QUICK = SpoolLimits(batch_ms=0.0, first_retry_s=0.0, longest_retry_s=0.0, batch_rows=3, max_pending=5)
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


def spool_of(directory: Path, store: MemoryRecords, limits: SpoolLimits = QUICK, **more) -> RecordSpool:
    return RecordSpool(directory, store, worker="w1", clock=ManualClock(), limits=limits, **more)


def add(spool: RecordSpool, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        spool.append(replace(RECORD, id=f"r{number}"))


async def ids(store) -> list[str]:
    return [item.record.id for item in await store.after(0, environment="p")]


def left_by_a_dead_worker(directory: Path, count: int, tail: bytes = b"") -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "0-dead.jsonl"
    path.write_bytes(b"".join(orjson.dumps(replace(RECORD, id=f"r{n}")) + b"\n" for n in range(count)) + tail)
    return path


async def test_a_record_is_in_the_file_when_append_returns(tmp_path):
    spool = spool_of(tmp_path, MemoryRecords())
    add(spool, 1)
    (path,) = tmp_path.glob("*.jsonl")
    assert orjson.loads(path.read_bytes())["id"] == "r0"
    await spool.close()


async def test_records_reach_the_store_in_groups_with_the_mark_of_the_last(tmp_path):
    store = MemoryRecords()
    spool = spool_of(tmp_path, store)
    add(spool, 4)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    await spool.flush()
    assert await ids(store) == ["r0", "r1", "r2"]
    assert await store.marks() == {path.name: sum(map(len, lines[:3]))}
    await spool.flush()
    assert await store.marks() == {path.name: sum(map(len, lines))}
    await spool.close()


async def test_run_commits_until_closed_and_closing_leaves_no_file(tmp_path):
    store, counts = MemoryRecords(), Counter()
    spool = spool_of(tmp_path, store, count=lambda outcome, count: counts.update({outcome: count}))
    async with anyio.create_task_group() as group:
        group.start_soon(spool.run)
        add(spool, 10)
        await spool.close()
    assert len(await ids(store)) == 10
    assert spool.pending == 0
    assert counts["stored"] == 10
    assert list(tmp_path.iterdir()) == []


async def test_run_wakes_up_for_records_that_come_later(tmp_path):
    store = MemoryRecords()
    spool = spool_of(tmp_path, store)
    async with anyio.create_task_group() as group:
        group.start_soon(spool.run)
        for start in (0, 3):
            await anyio.wait_all_tasks_blocked()
            add(spool, 3, start)
            with anyio.fail_after(5):
                while spool.pending:
                    await anyio.lowlevel.checkpoint()
        assert len(await ids(store)) == 6
        await spool.close()


@pytest.mark.parametrize("error", [StoreError("locked"), RuntimeError("a defect")])
async def test_a_store_that_fails_is_retried_and_counted_and_nothing_is_lost(tmp_path, error):
    store = FailingRecords(3, error)
    spool = spool_of(tmp_path, store)
    add(spool, 2)
    async with anyio.create_task_group() as group:
        group.start_soon(spool.run)
        with anyio.fail_after(5):
            while spool.pending:
                await anyio.lowlevel.checkpoint()
        await spool.close()
    assert await ids(store) == ["r0", "r1"]
    assert spool.failures == 3
    assert str(error) in spool.last_error


async def test_what_the_store_refused_until_the_end_is_replayed_by_the_next_start(tmp_path):
    spool = spool_of(tmp_path, FailingRecords(100))
    add(spool, 2)
    await spool.close()
    store = MemoryRecords()
    assert await spool_of(tmp_path, store).recover() == Recovery(segments=1, replayed=2, torn=0)
    assert await ids(store) == ["r0", "r1"]


async def test_a_full_queue_makes_callers_wait_but_drops_nothing(tmp_path):
    spool = spool_of(tmp_path, MemoryRecords())
    add(spool, 7)
    waiting = asyncio.create_task(spool.wait_for_room())
    await anyio.wait_all_tasks_blocked()
    assert not waiting.done()
    await spool.flush()
    await waiting
    assert spool.pending == 4
    await spool.close()


async def test_waiting_for_room_ends_with_the_reason(tmp_path):
    spool = spool_of(tmp_path, FailingRecords(100))
    add(spool, 5)
    await spool.flush()
    with pytest.raises(UnavailableError, match=r"5 served requests wait.*\n.*locked"):
        await spool.wait_for_room(timeout_s=0.0)
    await spool.close()


async def test_the_lag_is_the_age_of_the_oldest_pending_record(tmp_path):
    clock = ManualClock()
    spool = RecordSpool(tmp_path, MemoryRecords(), worker="w1", clock=clock, limits=QUICK)
    assert spool.lag_s == 0.0
    add(spool, 1)
    clock.advance(2.5)
    add(spool, 1, start=1)
    assert spool.lag_s == 2.5
    await spool.flush()
    assert spool.lag_s == 0.0
    await spool.close()


async def test_full_segments_are_deleted_once_all_of_them_is_committed(tmp_path):
    store = MemoryRecords()
    spool = spool_of(tmp_path, store, replace(QUICK, segment_bytes=1))
    add(spool, 4)
    assert len(list(tmp_path.glob("*.jsonl"))) == 4
    await spool.flush()
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert len(await store.marks()) == 3
    await spool.flush()
    add(spool, 1, start=4)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    await spool.close()


async def test_the_start_of_run_replays_what_dead_workers_left(tmp_path):
    left_by_a_dead_worker(tmp_path, 5)
    store, counts = FailingRecords(2), Counter()
    spool = spool_of(tmp_path, store, count=lambda outcome, count: counts.update({outcome: count}))
    async with anyio.create_task_group() as group:
        group.start_soon(spool.run)
        with anyio.fail_after(5):
            while counts["replayed"] < 5:
                await anyio.lowlevel.checkpoint()
        await spool.close()
    assert len(await ids(store)) == 5
    assert spool.failures == 2


async def test_a_replay_begins_at_the_mark(tmp_path):
    path = left_by_a_dead_worker(tmp_path, 3)
    first = len(path.read_bytes().splitlines(keepends=True)[0])
    store = MemoryRecords()
    await store.append([], marks={path.name: first})
    assert (await spool_of(tmp_path, store).recover()).replayed == 2
    assert await ids(store) == ["r1", "r2"]


async def test_a_replay_skips_ids_that_the_store_has(tmp_path):
    path = left_by_a_dead_worker(tmp_path, 3)
    store = MemoryRecords()
    await store.append([replace(RECORD, id="r1")])
    assert (await spool_of(tmp_path, store).recover()).replayed == 2
    assert await ids(store) == ["r1", "r0", "r2"]
    assert not path.exists()


async def test_a_torn_last_line_is_counted_and_ignored(tmp_path):
    left_by_a_dead_worker(tmp_path, 2, tail=b'{"id": "r9", "at_')
    store = MemoryRecords()
    assert await spool_of(tmp_path, store).recover() == Recovery(segments=1, replayed=2, torn=1)


async def test_the_segment_of_a_living_worker_is_left_alone(tmp_path):
    store = MemoryRecords()
    living = spool_of(tmp_path, store)
    add(living, 2)
    assert await spool_of(tmp_path, store).recover() == Recovery()
    assert living.pending == 2
    await living.close()
    assert len(await ids(store)) == 2


async def test_a_replay_that_the_store_refuses_keeps_the_file(tmp_path):
    path = left_by_a_dead_worker(tmp_path, 2)
    with pytest.raises(StoreError):
        await spool_of(tmp_path, FailingRecords(1)).recover()
    assert path.exists()


WORKER = """
import asyncio, os, sys
from dataclasses import replace
from pathlib import Path
from shipway.adapters.spool.spool import RecordSpool, SpoolLimits
from shipway.adapters.sql.store import SqlStore
from shipway.core.clock import SystemClock
from shipway.core.record import ServedRequest

RECORD = ServedRequest("r", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)

async def main():
    store = await SqlStore.open(Path(sys.argv[1]))
    limits = SpoolLimits(batch_rows=7, batch_ms=1.0, segment_bytes=20_000)
    spool = RecordSpool(Path(sys.argv[2]), store.records, worker="w", clock=SystemClock(), limits=limits)
    flusher = asyncio.create_task(spool.run())
    number = 0
    while True:
        await spool.wait_for_room()
        spool.append(replace(RECORD, id=f"{sys.argv[3]}-{number}"))
        os.write(1, f"{sys.argv[3]}-{number}\\n".encode())
        number += 1
        await asyncio.sleep(0)

asyncio.run(main())
"""


async def test_no_acknowledged_record_is_lost_or_doubled_when_the_worker_is_killed(tmp_path):
    state, directory = tmp_path / "state.db", tmp_path / "spool"
    store = await SqlStore.open(state, create=True)
    random_source = random.Random(20_251_121)
    acknowledged: list[str] = []
    for round_number in range(5):
        lines_before_the_kill = random_source.randrange(1, 900)
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(state), str(directory), f"w{round_number}"], stdout=subprocess.PIPE
        ) as worker:
            seen = [worker.stdout.readline() for _ in range(lines_before_the_kill)]
            worker.kill()
            seen += worker.stdout.readlines()
        acknowledged += [line.decode().strip() for line in seen if line.endswith(b"\n")]
    spool = RecordSpool(directory, store.records, worker="next", clock=ManualClock())
    await spool.recover()
    stored = [item.record.id for item in await store.records.after(0, environment="p", limit=100_000)]
    await store.close()
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    assert len(stored) <= len(acknowledged) + 5
    assert list(directory.iterdir()) == []


async def test_a_draft_of_a_worker_that_died_long_ago_is_deleted_and_a_young_one_is_kept(tmp_path):
    old, young = tmp_path / "old.new", tmp_path / "young.new"
    old.touch()
    young.touch()
    os.utime(old, (1.0, 1.0))
    await RecordSpool(tmp_path, MemoryRecords(), worker="next", clock=ManualClock()).recover()
    assert list(tmp_path.glob("*.new")) == [young]
