"""Takes what gateway workers wrote to their spool to the store; the control process runs one.

Lines are committed in groups, each with the offsets behind them in the same transaction, so that a crash anywhere
stores each record exactly once. Segments of living workers are followed; sealed ones, and those of dead workers, are
collected to their end and deleted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from shipway.adapters.spool.segments import Segment, read_chunk, segment_paths, sweep_drafts
from shipway.adapters.spool.turn import CollectorTurn
from shipway.core.clock import Clock
from shipway.core.ports import RecordStore
from shipway.core.record import ServedRequest


@dataclass(frozen=True, slots=True)
class CollectorLimits:
    """Sizes and waits. `group_bytes` bounds a transaction, and what is in memory, whatever lies in the directory."""

    group_bytes: int = 128 * 1024
    poll_s: float = 0.05
    turn_s: float = 0.5
    asleep_s: float = 10.0
    first_retry_s: float = 0.05
    longest_retry_s: float = 2.0
    close_s: float = 15.0


@dataclass(slots=True)
class _Group:
    """What one transaction takes: records, the marks behind them, and segments that end there."""

    records: list[ServedRequest] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    finished: list[Segment] = field(default_factory=list)
    unreadable: dict[str, OSError] = field(default_factory=dict)
    torn: int = 0
    room_bytes: int = 0
    more: bool = False
    """Whether it is full; the next one goes on there."""


class SpoolCollector:
    """Empties a spool directory, as the only one that holds `lock_file`.

    `note` is told when the turn comes and goes, when the store refuses records, and of lines that nobody can read.
    """

    def __init__(
        self,
        directory: Path,
        store: RecordStore,
        *,
        lock_file: Path,
        clock: Clock,
        limits: CollectorLimits | None = None,
        note: Callable[..., Any] | None = None,
    ) -> None:
        self._directory = directory
        self._store = store
        self._limits = limits or CollectorLimits()
        self._turn = CollectorTurn(lock_file, clock, asleep_s=self._limits.asleep_s)
        self._note = note or (lambda _event, **_values: None)
        self._marks: dict[str, int] | None = None
        self._collecting = False
        self._emptied = False
        self._refused = False
        self._retry_s = 0.0
        self._unreadable: set[str] = set()
        self.stored = 0
        self.torn = 0
        self.failures = 0
        self.last_error = ""

    async def run(self, stop: anyio.Event) -> None:
        """Collect until `stop`, then what is left; a failing store is retried for ever, and counted."""
        try:
            while not stop.is_set():
                wait_s = await self._step()
                with anyio.move_on_after(wait_s):
                    await stop.wait()
            await self._collect_the_rest()
        finally:
            self._turn.give_up()

    async def collect(self) -> bool:
        """Commit one group; return whether more is known to be there.

        Raises:
            StoreError: the store does not take it; nothing is lost, try again.
        """
        if self._marks is None:
            self._marks = await self._begin()
        group = await anyio.to_thread.run_sync(self._gathered, dict(self._marks))
        committed = False
        try:
            if group.marks:
                self.stored += await self._store.append(group.records, marks=group.marks)
            committed = True
        finally:
            for segment in group.finished:
                segment.close(remove=committed)
        self._marks |= group.marks
        self._complain(group)
        await self._forget([segment.name for segment in group.finished if segment.name in self._marks])
        return group.more

    async def _step(self) -> float:
        """Do what is to be done now and return for how long to wait."""
        try:
            if not self._has_turn():
                return self._limits.turn_s
            more = await self.collect()
        except Exception as error:  # noqa: BLE001 - whatever it was: these records were acknowledged, so try again
            return self._failed(error)
        self._emptied = not more
        if self._refused:
            self._refused = False
            self._note("records_taken_again", failures=self.failures)
        return 0.0 if more else self._limits.poll_s

    def _has_turn(self) -> bool:
        mine = self._turn.is_mine()
        if mine is not self._collecting:
            self._collecting = mine
            self._marks = None  # somebody else moves them, or has moved them
            self._note("collecting" if mine else "collecting_elsewhere", directory=str(self._directory))
        return mine

    def _failed(self, error: Exception) -> float:
        self.failures += 1
        self.last_error = f"{type(error).__name__}: {error}"
        if not self._refused:
            self._refused = True
            self._retry_s = self._limits.first_retry_s
            self._note("records_refused", error=self.last_error)
        wait_s, self._retry_s = self._retry_s, min(2 * self._retry_s, self._limits.longest_retry_s)
        return wait_s

    async def _collect_the_rest(self) -> None:
        self._emptied = False
        with anyio.move_on_after(self._limits.close_s):
            while not self._emptied:
                wait_s = await self._step()
                if not self._collecting:
                    return
                await anyio.sleep(0.0 if self._emptied else wait_s)

    def _complain(self, group: _Group) -> None:
        if group.torn:
            self.torn += group.torn
            self._note("records_torn", lines=group.torn)
        for name, error in group.unreadable.items():
            self.failures += 1
            self.last_error = f"{name}: {error}"
            if name not in self._unreadable:
                self._unreadable.add(name)
                self._note("records_unreadable", file=name, error=str(error))

    async def _begin(self) -> dict[str, int]:
        """Return the marks, without those of files that a collector deleted just before it died."""
        marks = await self._store.marks()
        paths = await anyio.to_thread.run_sync(segment_paths, self._directory)
        await anyio.to_thread.run_sync(sweep_drafts, self._directory)
        gone = sorted(marks.keys() - {path.name for path in paths})
        await self._store.forget_marks(gone)
        return {name: mark for name, mark in marks.items() if name not in gone}

    async def _forget(self, names: list[str]) -> None:
        if names and self._marks is not None:
            await self._store.forget_marks(names)
            for name in names:
                del self._marks[name]

    def _gathered(self, marks: dict[str, int]) -> _Group:
        group = _Group(room_bytes=self._limits.group_bytes)
        for path in segment_paths(self._directory):
            if group.more:
                break
            try:
                _take(path, marks.get(path.name, 0), group)
            except OSError as error:  # one bad file must not keep the others from the store
                group.unreadable[path.name] = error
        return group


def _take(path: Path, mark: int, group: _Group) -> None:
    """Add what a segment has behind its mark; the lock is tried first, so that a complete one is read to its end."""
    segment = Segment.take_over(path)
    finished = False
    try:
        chunk = read_chunk(path, mark, group.room_bytes, complete=segment is not None)
        if chunk is None:
            return
        group.records += chunk.content.records
        group.torn += chunk.content.torn
        group.room_bytes -= chunk.end - mark
        if chunk.end > mark:
            group.marks[path.name] = chunk.end
            group.more = not chunk.last or group.room_bytes <= 0
        finished = chunk.last
    finally:
        if segment is not None and finished:
            group.finished.append(segment)
        elif segment is not None:
            segment.close(remove=False)
