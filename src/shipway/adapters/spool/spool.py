"""The spool of one data-plane worker: acknowledged requests survive the death of the process.

The gateway appends a record before it sends a response's final byte. That is one line in a file, and nothing else is
done in this process: `SpoolCollector` takes the lines to the store, in the control process.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from shipway.adapters.spool.lines import HEADER, encoded
from shipway.adapters.spool.segments import SUFFIX, Segment, sizes
from shipway.core.clock import Clock
from shipway.core.disk import explained
from shipway.core.errors import StoreError, UnavailableError
from shipway.core.ids import ulid
from shipway.core.record import ServedRequest


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Sizes and waits.

    A segment is sealed when it is `segment_bytes` long or `segment_s` old, so that it can be collected to its end and
    deleted. With `room_bytes` in the whole directory nothing more is taken; it is looked at every `look_s`.
    """

    room_bytes: int = 256 * 1024 * 1024
    segment_bytes: int = 8 * 1024 * 1024
    segment_s: float = 5.0
    look_s: float = 1.0


@dataclass(frozen=True, slots=True)
class _Sealed:
    lines: int
    since_s: float
    sealed_s: float


class RecordSpool:
    """Takes records without loss; one `run()` per spool.

    `count` is told how many records are `stored`, once all of their segment is. Metrics also read `pending`, `lag_s`
    and `waiting_bytes`; they are as old as the last look at the directory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        worker: str,
        clock: Clock,
        limits: SpoolLimits | None = None,
        count: Callable[[str, int], None] | None = None,
    ) -> None:
        self._directory = directory
        self._worker = worker
        self._clock = clock
        self._limits = limits or SpoolLimits()
        self._count = count or (lambda _outcome, _count: None)
        self._current: Segment | None = None
        self._since_s = 0.0
        self._sealed: dict[str, _Sealed] = {}
        self._room = asyncio.Event()
        self.has_room = True
        """Whether another record can be taken at once."""
        self.waiting_bytes = 0
        """What lies in the directory, of all workers."""

    @property
    def pending(self) -> int:
        """Return how many records lie in segments that are sealed for long enough to be in the store by now."""
        return sum(segment.lines for segment in self._overdue())

    @property
    def lag_s(self) -> float:
        """Return for how long the oldest of them has been waiting."""
        since_s = min((segment.since_s for segment in self._overdue()), default=None)
        return 0.0 if since_s is None else self._clock.monotonic_s() - since_s

    def append(self, record: ServedRequest) -> None:
        """Write a record's line; when this returns, the death of the process cannot lose it.

        It never drops: call `wait_for_room` before serving a request, not here.

        Raises:
            StoreError: the disk did not take the line.
        """
        self._segment().append(encoded(record))

    def append_all(self, records: Sequence[ServedRequest]) -> None:
        """Write the lines of all records at once, or none of them; else as `append`.

        Raises:
            StoreError: the disk did not take the lines.
        """
        self._segment().append(b"".join([encoded(record) for record in records]), len(records))

    def _segment(self) -> Segment:
        segment = self._current
        if segment is None or segment.size_bytes >= self._limits.segment_bytes:
            segment = self._renewed()
        return segment

    async def wait_for_room(self, timeout_s: float = 5.0) -> None:
        """Wait until enough has been collected for another request.

        Raises:
            UnavailableError: it has not within `timeout_s`.
        """
        if self.has_room:
            return
        try:
            with anyio.fail_after(timeout_s):
                await self._room.wait()
        except TimeoutError as error:
            raise UnavailableError(
                f"{self.waiting_bytes / 1e6:.1f} MB of served requests wait in {self._directory} for the store",
                hint="`shipway control` collects them; `shipway doctor` says whether it runs, its log what it needs",
            ) from error

    async def run(self) -> None:
        """Look after the directory until cancelled."""
        while True:
            await self.look()
            await anyio.sleep(self._limits.look_s)

    async def look(self) -> None:
        """Seal a segment that is old enough, and see what has been collected."""
        current = self._current
        if current is not None and current.lines and self._age_s() >= self._limits.segment_s:
            with contextlib.suppress(StoreError):  # a full disk: the segment stays in use, requests find out themselves
                self._renewed()
        found = await anyio.to_thread.run_sync(sizes, self._directory)
        for name in [name for name in self._sealed if name not in found]:
            self._count("stored", self._sealed.pop(name).lines)
        self.waiting_bytes = sum(found.values())
        self._let_in(room=self.waiting_bytes < self._limits.room_bytes)

    async def close(self) -> None:
        """Seal the last segment, so that it can be collected to its end."""
        self._seal()

    def _overdue(self) -> list[_Sealed]:
        latest_s = self._clock.monotonic_s() - self._limits.look_s
        return [segment for segment in self._sealed.values() if segment.sealed_s <= latest_s]

    def _age_s(self) -> float:
        return self._clock.monotonic_s() - self._since_s

    def _let_in(self, *, room: bool) -> None:
        if room:
            self._room.set()
        elif self.has_room:
            self._room = asyncio.Event()
        self.has_room = room

    def _renewed(self) -> Segment:
        with explained(self._directory, "cannot be created"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{ulid(self._clock.now_s())}-{self._worker}{SUFFIX}"
        segment = Segment.create(self._directory / name, HEADER)
        self._seal()
        self._current = segment
        self._since_s = self._clock.monotonic_s()
        return segment

    def _seal(self) -> None:
        segment, self._current = self._current, None
        if segment is None:
            return
        if segment.lines:
            self._sealed[segment.name] = _Sealed(segment.lines, self._since_s, self._clock.monotonic_s())
        segment.close(remove=not segment.lines)
