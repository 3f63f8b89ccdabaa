"""Takes finished traces out of the way of requests: a bounded queue, and a thread that makes spans and exports them.

What becomes of each trace is counted: received = exported + dropped + pending.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from shipway.core.record import ServedRequest
from shipway.telemetry.otlp import Span, breathe
from shipway.telemetry.spans import SpanMaker
from shipway.telemetry.tracing import RequestTrace

QUEUE_FULL = "queue_full"
REJECTED = "rejected"
"""The target took the batch but not all of its spans."""
FAILED = "failed"
"""The target could not be reached, or took nothing, also when it was asked again."""
STOPPED = "stopped"
"""They were still waiting when the worker had to end."""
UNREADABLE = "unreadable"
"""No span could be made of the record: a defect."""


class SpanTarget(Protocol):
    """Where spans go; called from the export thread alone. Below: `adapters/otlp`."""

    def export(self, spans: Sequence[Span]) -> int:
        """Hand over spans and return how many of them the target refused; it tries again by itself.

        Raises:
            OSError: nothing was taken.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files; an export that is waiting gives up."""
        ...


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """Sizes and waits."""

    max_pending: int = 4096
    batch: int = 256
    every_s: float = 0.5
    slice: int = 16
    """Traces that are made into spans before the event loop gets the interpreter again."""


class TraceExport:
    """The queue; `received`, `exported`, `dropped` and `pending` count traces.

    `note` writes a log line when exporting begins to fail and when it works again.
    """

    def __init__(
        self,
        target: SpanTarget,
        maker: SpanMaker,
        limits: ExportLimits | None = None,
        *,
        note: Callable[..., None] | None = None,
    ) -> None:
        self._target = target
        self._note = note
        self._failing = False
        self._maker = maker
        self._limits = limits or ExportLimits()
        self._queue: deque[tuple[ServedRequest, RequestTrace]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trace-export", daemon=True)
        self._closed = False
        self.received = 0
        self.exported = 0
        self.dropped: Counter[str] = Counter()
        self.last_error = ""

    @property
    def pending(self) -> int:
        """Return how many traces are on their way."""
        return self.received - self.exported - sum(self.dropped.values())

    def take(self, record: ServedRequest, trace: RequestTrace) -> None:
        """Queue a finished request, or drop it when the queue is full; never waits."""
        self.received += 1
        if len(self._queue) >= self._limits.max_pending:
            self.dropped[QUEUE_FULL] += 1
        else:
            self._queue.append((record, trace))

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def close(self, timeout_s: float = 3.0) -> None:
        """Export what is left; what the target does not take within `timeout_s` is dropped and counted."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._target.close()
        self._closed = True
        left = self.pending
        if left:
            self.dropped[STOPPED] += left

    def _run(self) -> None:
        while not self._stopping.wait(self._limits.every_s):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._limits.batch))]
            self._export(batch)

    def _export(self, batch: list[tuple[ServedRequest, RequestTrace]]) -> None:
        spans: list[Span] = []
        made = 0
        for start in range(0, len(batch), self._limits.slice):
            for record, trace in batch[start : start + self._limits.slice]:
                try:
                    spans += self._maker.spans(record, trace)
                    made += 1
                except (ValueError, TypeError, AttributeError) as error:
                    self.dropped[UNREADABLE] += 1
                    self.last_error = repr(error)
            breathe()
        if not made:
            return
        try:
            refused = self._target.export(spans)
        except OSError as error:
            refused = -1
            self.last_error = str(error)
        self._tell(failing=refused < 0)
        if self._closed:
            return  # whoever closed has counted them
        if refused < 0:
            self.dropped[FAILED] += made
            return
        lost = min(made, refused)
        self.exported += made - lost
        if lost:
            self.dropped[REJECTED] += lost

    def _tell(self, *, failing: bool) -> None:
        if failing == self._failing or self._note is None:
            return
        self._failing = failing
        if failing:
            self._note("traces_not_exported", error=self.last_error)
        else:
            self._note("traces_exported_again", dropped=sum(self.dropped.values()))
