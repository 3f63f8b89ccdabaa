import asyncio
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from shipway.adapters.spool.lines import HEADER, decoded, header_of
from shipway.adapters.spool.spool import RecordSpool, SpoolLimits
from shipway.core.clock import ManualClock
from shipway.core.errors import StoreError, UnavailableError
from shipway.core.record import ServedRequest

pytestmark = pytest.mark.anyio

RECORD = ServedRequest("r", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)  # noqa: FBT003


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def spool_of(directory: Path, clock: ManualClock, **limits) -> RecordSpool:
    return RecordSpool(directory, worker="w1", clock=clock, limits=SpoolLimits(**limits))


def add(spool: RecordSpool, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        spool.append(replace(RECORD, id=f"r{number}"))


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


def collect(*paths: Path) -> None:
    for path in paths:
        path.unlink()


async def test_a_record_is_in_the_file_when_append_returns(tmp_path, clock):
    spool = spool_of(tmp_path / "new", clock)
    add(spool, 1)
    (path,) = segments(tmp_path / "new")
    data = path.read_bytes()
    assert data.startswith(HEADER)
    assert decoded(data[len(HEADER) :], header_of(data)).records == [replace(RECORD, id="r0")]
    await spool.close()


async def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path, clock):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        add(spool_of(tmp_path / "file", clock), 1)


async def test_a_segment_of_its_size_is_sealed_and_the_next_begun(tmp_path, clock):
    spool = spool_of(tmp_path, clock, segment_bytes=1)
    add(spool, 3)
    assert [path.read_bytes().count(b"\n") for path in segments(tmp_path)] == [2, 2, 2]
    await spool.close()


async def test_a_segment_of_its_age_is_sealed_unless_it_is_empty(tmp_path, clock):
    spool = spool_of(tmp_path, clock, segment_s=5.0)
    add(spool, 1)
    clock.advance(4.0)
    await spool.look()
    assert len(segments(tmp_path)) == 1
    clock.advance(1.0)
    await spool.look()
    assert len(segments(tmp_path)) == 2
    clock.advance(100.0)
    await spool.look()
    assert len(segments(tmp_path)) == 2
    add(spool, 1, start=1)
    assert [path.read_bytes().count(b"\n") for path in segments(tmp_path)] == [2, 2]
    await spool.close()


async def test_closing_leaves_the_segments_with_records_alone(tmp_path, clock):
    spool = spool_of(tmp_path, clock, segment_s=0.0)
    await spool.look()
    add(spool, 1)
    await spool.look()
    await spool.close()
    assert len(segments(tmp_path)) == 1


async def test_records_of_segments_that_stay_are_pending_and_old_and_stored_once_they_are_gone(tmp_path, clock):
    counts: Counter[str] = Counter()
    spool = RecordSpool(
        tmp_path,
        worker="w1",
        clock=clock,
        limits=SpoolLimits(segment_s=5.0, look_s=1.0),
        count=lambda outcome, count: counts.update({outcome: count}),
    )
    add(spool, 3)
    clock.advance(5.0)
    await spool.look()
    assert (spool.pending, spool.lag_s) == (0, 0.0)
    clock.advance(2.0)
    await spool.look()
    assert (spool.pending, spool.lag_s) == (3, 7.0)
    collect(segments(tmp_path)[0])
    await spool.look()
    assert (spool.pending, spool.lag_s, counts) == (0, 0.0, {"stored": 3})
    await spool.close()


async def test_without_room_callers_wait_until_enough_is_collected_and_nothing_is_dropped(tmp_path, clock):
    spool = spool_of(tmp_path, clock, segment_bytes=1, room_bytes=2000)
    await spool.look()
    assert spool.has_room
    await spool.wait_for_room(timeout_s=0.0)
    add(spool, 5)
    await spool.look()
    assert not spool.has_room
    assert spool.waiting_bytes == sum(path.stat().st_size for path in segments(tmp_path)) > 2000
    add(spool, 1, start=5)
    assert len(segments(tmp_path)) == 6
    waiting = asyncio.create_task(spool.wait_for_room())
    await anyio.wait_all_tasks_blocked()
    assert not waiting.done()
    collect(*segments(tmp_path)[:-1])
    await spool.look()
    await waiting
    assert spool.has_room
    await spool.close()


async def test_the_room_is_that_of_all_workers(tmp_path, clock):
    (tmp_path / "0-other.jsonl").write_bytes(b"x" * 500)
    spool = spool_of(tmp_path, clock, room_bytes=500)
    await spool.look()
    assert not spool.has_room


async def test_waiting_for_room_ends_with_what_to_do(tmp_path, clock):
    spool = spool_of(tmp_path, clock, room_bytes=1)
    add(spool, 1)
    await spool.look()
    with pytest.raises(UnavailableError, match=r"MB of served requests wait in .*\n.*shipway control"):
        await spool.wait_for_room(timeout_s=0.0)
    await spool.close()


async def test_run_looks_again_and_again(tmp_path, clock):
    spool = spool_of(tmp_path, clock, look_s=0.0, room_bytes=1)
    async with anyio.create_task_group() as group:
        group.start_soon(spool.run)
        with anyio.fail_after(5):
            add(spool, 1)
            while spool.has_room:
                await anyio.lowlevel.checkpoint()
            collect(*segments(tmp_path))
            await spool.wait_for_room()
        group.cancel_scope.cancel()
    await spool.close()


async def test_records_that_come_together_are_lines_like_all_others(tmp_path, clock):
    spool = spool_of(tmp_path, clock)
    add(spool, 1)
    spool.append_all([replace(RECORD, id=f"r{number}") for number in (1, 2, 3)])
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    assert [record.id for record in decoded(data[len(HEADER) :], header_of(data)).records] == ["r0", "r1", "r2", "r3"]
    assert spool._current is not None
    assert spool._current.lines == 4
    await spool.close()


async def test_records_that_do_not_fit_together_leave_nothing_behind(tmp_path, clock, monkeypatch):
    spool = spool_of(tmp_path, clock)
    add(spool, 1)
    (path,) = segments(tmp_path)
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:-5]))
    with pytest.raises(StoreError, match="not written"):
        spool.append_all([replace(RECORD, id=f"r{number}") for number in (1, 2)])
    monkeypatch.undo()
    assert path.read_bytes() == before
    add(spool, 1, start=1)
    data = path.read_bytes()
    assert [record.id for record in decoded(data[len(HEADER) :], header_of(data)).records] == ["r0", "r1"]
    await spool.close()
