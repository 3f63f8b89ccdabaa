import threading
from collections.abc import Sequence

from tests.unit.telemetry.test_spans import CHAT, TRACE

from shipway.telemetry.export import ExportLimits, TraceExport
from shipway.telemetry.otlp import Span
from shipway.telemetry.spans import CONVENTIONS, SpanMaker

MAKER = SpanMaker(CONVENTIONS["1.41"])


class Target:
    """Takes spans, refuses `refused` of each batch, fails while `broken`, waits while `held`."""

    def __init__(self, refused: int = 0, *, broken: bool = False) -> None:
        self.spans: list[Span] = []
        self.batches = 0
        self.refused = refused
        self.broken = broken
        self.held = threading.Event()
        self.held.set()
        self.closed = False

    def export(self, spans: Sequence[Span]) -> int:
        self.held.wait(10)
        self.batches += 1
        if self.broken:
            raise OSError("no receiver at http://127.0.0.1")
        self.spans += spans
        return self.refused

    def close(self) -> None:
        self.closed = True
        self.held.set()


def balance(export: TraceExport) -> bool:
    return export.received == export.exported + sum(export.dropped.values()) + export.pending


def test_what_was_taken_is_exported_as_spans_before_the_end():
    target = Target()
    export = TraceExport(target, MAKER, ExportLimits(batch=10))
    export.start()
    for _ in range(25):
        export.take(CHAT, TRACE)
    export.close()
    assert (export.received, export.exported, export.pending) == (25, 25, 0)
    assert len(target.spans) == 50
    assert target.batches >= 3
    assert target.closed


def test_a_full_queue_drops_and_counts():
    export = TraceExport(Target(), MAKER, ExportLimits(max_pending=3))
    for _ in range(5):
        export.take(CHAT, TRACE)
    assert export.dropped == {"queue_full": 2}
    assert (export.pending, balance(export)) == (3, True)


def test_a_target_that_takes_nothing_is_counted_as_failed_with_its_reason():
    export = TraceExport(Target(broken=True), MAKER)
    export.start()
    export.take(CHAT, TRACE)
    export.close()
    assert export.dropped == {"failed": 1}
    assert "no receiver" in export.last_error
    assert balance(export)


def test_spans_that_the_target_refused_are_counted_and_never_more_than_were_sent():
    for refused, exported in ((1, 1), (99, 0)):
        export = TraceExport(Target(refused), MAKER)
        export.take(CHAT, TRACE)
        export.take(CHAT, TRACE)
        export.start()
        export.close()
        assert (export.exported, export.dropped["rejected"]) == (exported, 2 - exported)


def test_a_target_that_hangs_does_not_keep_the_worker_from_ending():
    target = Target()
    target.held.clear()
    export = TraceExport(target, MAKER)
    export.start()
    for _ in range(4):
        export.take(CHAT, TRACE)
    export.close(timeout_s=0.01)
    assert (export.dropped["stopped"], export.exported) == (4, 0)
    export._thread.join(10)
    assert balance(export)


def test_a_record_of_which_no_span_can_be_made_does_not_take_others_with_it():
    export = TraceExport(Target(), MAKER)
    export.take(None, TRACE)
    export.take(CHAT, TRACE)
    export.start()
    export.close()
    assert (export.exported, export.dropped) == (1, {"unreadable": 1})


def test_a_failing_target_is_told_once_and_again_when_it_works():
    told: list[tuple[str, dict]] = []
    target = Target(broken=True)
    export = TraceExport(
        target, MAKER, ExportLimits(batch=1), note=lambda event, **fields: told.append((event, fields))
    )
    for _ in range(3):
        export.take(CHAT, TRACE)
    export._drain()
    target.broken = False
    for _ in range(3):
        export.take(CHAT, TRACE)
    export._drain()
    assert told == [
        ("traces_not_exported", {"error": "no receiver at http://127.0.0.1"}),
        ("traces_exported_again", {"dropped": 3}),
    ]
