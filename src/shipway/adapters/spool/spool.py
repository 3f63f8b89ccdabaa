"""The spool of one data-plane worker: acknowledged requests survive the death of the process.

The gateway appends a record before it sends a response's final byte; a background task commits records to the store in
groups, each with the spool's offset in the same transaction, so that a replay after a crash stores each exactly once.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import anyio
import orjson

from shipway.adapters.spool.segments import SUFFIX, Segment
from shipway.adapters.spool.takeover import Recovery, replay
from shipway.core.clock import Clock
from shipway.core.errors import UnavailableError
from shipway.core.ids import ulid
from shipway.core.ports import RecordStore
from shipway.core.record import ServedRequest


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Sizes and waits; the defaults suit a worker of some thousand requests a second."""

    max_pending: int = 10_000
    batch_rows: int = 50
    batch_ms: float = 10.0
    segment_bytes: int = 16 * 1024 * 1024
    first_retry_s: float = 0.05
    longest_retry_s: float = 2.0
    close_s: float = 5.0


@dataclass(frozen=True, slots=True)
class _Pending:
    record: ServedRequest
    segment: str
    end: int
    since_s: float


class RecordSpool:
    """Takes records without loss and hands them to the store.

    One `run()` per spool. `count` is told how many records were `stored` and `replayed` and how many lines were `torn`;
    metrics also read `pending`, `lag_s`, `failures` and `last_error`.
    """

    def __init__(
        self,
        directory: Path,
        store: RecordStore,
        *,
        worker: str,
        clock: Clock,
        limits: SpoolLimits | None = None,
        count: Callable[[str, int], None] | None = None,
    ) -> None:
        self._directory = directory
        self._store = store
        self._worker = worker
        self._clock = clock
        self._limits = limits or SpoolLimits()
        self._queue: deque[_Pending] = deque()
        self._in_segment: Counter[str] = Counter()
        self._segments: dict[str, Segment] = {}
        self._current: Segment | None = None
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._committing = asyncio.Lock()
        self._closing = False
        self._recovered = False
        self._count = count or (lambda _outcome, _count: None)
        self.failures = 0
        self.last_error = ""

    @property
    def pending(self) -> int:
        """Return how many acknowledged records are not in the store yet."""
        return len(self._queue)

    @property
    def lag_s(self) -> float:
        """Return for how long the oldest of them has been waiting."""
        return self._clock.monotonic_s() - self._queue[0].since_s if self._queue else 0.0

    def append(self, record: ServedRequest) -> None:
        """Write a record's line; when this returns, the death of the process cannot lose it.

        It never drops: call `wait_for_room` before serving a request, not here.

        Raises:
            StoreError: the disk did not take the line.
        """
        segment = self._writable()
        end = segment.append(orjson.dumps(record) + b"\n")
        self._in_segment[segment.name] += 1
        self._queue.append(_Pending(record, segment.name, end, self._clock.monotonic_s()))
        self._arrived.set()
        if len(self._queue) >= self._limits.max_pending:
            self._room.clear()

    @property
    def has_room(self) -> bool:
        """Return whether another record can be taken at once."""
        return self._room.is_set()

    async def wait_for_room(self, timeout_s: float = 5.0) -> None:
        """Wait until the store has caught up enough for another request.

        Raises:
            UnavailableError: it has not within `timeout_s`.
        """
        if self._room.is_set():
            return
        try:
            with anyio.fail_after(timeout_s):
                await self._room.wait()
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.pending} served requests wait for the store and it does not take them",
                hint=f"last failure: {self.last_error or 'none, it is slow'}",
            ) from error

    async def recover(self) -> Recovery:
        """Commit what dead workers left in the directory.

        `run()` begins with it; call it before when nothing may be read from the store until then.

        Raises:
            StoreError: the store does not take it; nothing is lost, try again.
        """
        found = await replay(self._directory, self._store, batch_rows=self._limits.batch_rows)
        self._recovered = True
        self._count("replayed", found.replayed)
        self._count("torn", found.torn)
        return found

    async def run(self) -> None:
        """Replay, then commit records until closed; a failing store is retried for ever, and counted."""
        retry_s = self._limits.first_retry_s
        while not self._closing:
            if self._recovered:
                await self._gather()
            if await self.flush() and await self._replayed():
                retry_s = self._limits.first_retry_s
            else:
                await anyio.sleep(retry_s)
                retry_s = min(2 * retry_s, self._limits.longest_retry_s)

    async def flush(self) -> bool:
        """Commit one group; False when the store refused it and the records stay pending."""
        async with self._committing:
            batch = [self._queue[index] for index in range(min(len(self._queue), self._limits.batch_rows))]
            if not batch:
                return True
            try:
                await self._store.append(
                    [item.record for item in batch], marks={item.segment: item.end for item in batch}
                )
            except Exception as error:  # noqa: BLE001 - whatever it was: these records were acknowledged, so try again
                return self._failed(error)
            self._settle(batch)
            return True

    async def close(self) -> None:
        """Stop `run()` and commit what is pending; what the store does not take now is replayed at the next start."""
        self._closing = True
        self._arrived.set()
        with anyio.move_on_after(self._limits.close_s):
            while self._queue and await self.flush():
                pass
        for name, segment in self._segments.items():
            segment.close(remove=not self._in_segment[name])
        self._segments.clear()
        self._current = None

    async def _replayed(self) -> bool:
        if not self._recovered:
            try:
                await self.recover()
            except Exception as error:  # noqa: BLE001 - as in flush: the lines stay in the file, so try again
                return self._failed(error)
        return True

    def _failed(self, error: Exception) -> bool:
        self.failures += 1
        self.last_error = f"{type(error).__name__}: {error}"
        return False

    async def _gather(self) -> None:
        # A group is worth a short wait, because a commit costs the same for one record as for fifty.
        await self._arrived.wait()
        if len(self._queue) < self._limits.batch_rows and not self._closing:
            await anyio.sleep(self._limits.batch_ms / 1000)

    def _settle(self, batch: list[_Pending]) -> None:
        for item in batch:
            self._queue.popleft()
            self._in_segment[item.segment] -= 1
        self._count("stored", len(batch))
        for name in {item.segment for item in batch}:
            segment = self._segments.get(name)
            if segment is not None and segment is not self._current and not self._in_segment[name]:
                segment.close(remove=True)
                del self._segments[name], self._in_segment[name]
        if not self._queue and not self._closing:
            self._arrived.clear()
        if len(self._queue) < self._limits.max_pending:
            self._room.set()

    def _writable(self) -> Segment:
        full = self._current is not None and self._current.size_bytes >= self._limits.segment_bytes
        if self._current is None or full:
            previous = self._current
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{ulid(self._clock.now_s())}-{self._worker}{SUFFIX}"
            self._current = Segment.create(self._directory / name)
            self._segments[name] = self._current
            if previous is not None and not self._in_segment[previous.name]:
                previous.close(remove=True)
                del self._segments[previous.name], self._in_segment[previous.name]
        return self._current
