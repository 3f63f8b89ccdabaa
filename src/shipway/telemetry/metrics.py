"""What one data-plane worker counts; the gateway observes each record and serves `render()`.

Counting is plain lists and dictionaries, because one update of a Prometheus client's metric costs as much as all of
`observe`: the client's classes are made when somebody scrapes, by `exposition`.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from shipway.core.record import ServedRequest
from shipway.telemetry.exposition import rendered
from shipway.telemetry.families import BY_NAME, DURATION_BUCKETS_S, SPEED_BUCKETS, Labels, Tables, Value

OTHER = "other"

_MAX_ROUTES = 64
_MAX_RELEASES = 64
_MAX_NAMES = 32
_MAX_ROWS = 256
_OUTCOMES = ("stored",)
_CLASSES = 6
_LIMITED = 429
_DURATION_MS = tuple(border * 1000 for border in DURATION_BUCKETS_S)

Source = Callable[[], float | Mapping[Labels, float]]
"""Gives a gauge's value, or its values by label values, when somebody scrapes."""


class OtherWorkers(Protocol):
    """Where the counts of this host's workers are found; `telemetry.worker_counts` implements it."""

    def read(self) -> Mapping[str, Tables]:
        """Return the tables of every other process by the name of its worker."""
        ...


class _Series:
    """The counts of one route and release, looked up once because a look-up costs more than an update."""

    __slots__ = (
        "cache_read", "classes", "cost", "duration", "duration_sum_ms", "errors", "events", "output", "speed",
        "speed_sum", "ttft", "ttft_sum_ms", "uncached",
    )  # fmt: skip

    def __init__(self) -> None:
        self.classes = [0] * _CLASSES
        self.duration = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.duration_sum_ms = 0.0
        self.ttft = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.ttft_sum_ms = 0.0
        self.speed = [0] * (len(SPEED_BUCKETS) + 1)
        self.speed_sum = 0.0
        self.uncached = 0
        self.cache_read = 0
        self.output = 0
        self.cost = 0.0
        self.events: dict[str, int] = {}
        self.errors: dict[str, int] = {}


class Gauge:
    """A number that is set, or read where it is known."""

    def __init__(self, value: float = 0.0) -> None:
        self._value = value
        self._source: Source | None = None

    def set(self, value: float) -> None:
        """Set the value."""
        self._value = value

    def set_function(self, source: Source) -> None:
        """Read the value at each scrape."""
        self._source = source

    def read(self) -> dict[Labels, Value]:
        """Return the value, or the values by label values."""
        found = self._source() if self._source else self._value
        return dict(found) if isinstance(found, Mapping) else {(): float(found)}


class DataPlaneMetrics:
    """What a worker counts. Labels are bounded: whatever is not deployed counts as `other`."""

    def __init__(self, worker: str = "gateway-0") -> None:
        self._worker = worker
        self._others: OtherWorkers | None = None
        self._routes: set[str] = set()
        self._series: dict[tuple[str, str], _Series] = {}
        self._tables: dict[str, dict[Labels, float]] = {}
        self._gauges: dict[str, Gauge] = {}
        self.inflight = self.gauge("shipway_inflight")
        self.snapshot_version = self.gauge("shipway_snapshot_version")
        self.records_pending = self.gauge("shipway_records_pending")
        self.queue_depth = self.gauge("shipway_queue_depth")

    def gauge(self, name: str) -> Gauge:
        """Return a gauge of `families`; a function may give a mapping of label values to values.

        Also for counters that somebody else keeps (the supervisor's restarts).
        """
        if name not in BY_NAME:
            raise ValueError(f"{name!r} is no metric family; add it to telemetry.families")
        return self._gauges.setdefault(name, Gauge())

    def show_also(self, others: OtherWorkers) -> None:
        """Render the counts of this host's other workers too."""
        self._others = others

    def observe(self, record: ServedRequest) -> None:
        """Count a served request; a route that got no release is not deployed, whatever a client called it."""
        series = self._series.get((record.route, record.release))
        if series is None:
            series = self._opened(record.route, record.release)
        status = record.status
        series.classes[status // 100] += 1
        latency_ms = record.latency_ms
        series.duration[bisect_left(_DURATION_MS, latency_ms)] += 1
        series.duration_sum_ms += latency_ms
        output = record.tokens_out
        series.uncached += record.tokens_in
        series.cache_read += record.tokens_cache_read
        series.output += output
        series.cost += record.cost_usd
        ttft_ms = record.ttft_ms
        if ttft_ms is not None:
            series.ttft[bisect_left(_DURATION_MS, ttft_ms)] += 1
            series.ttft_sum_ms += ttft_ms
            if output > 1 and latency_ms > ttft_ms:
                speed = (output - 1) * 1000 / (latency_ms - ttft_ms)
                series.speed[bisect_left(SPEED_BUCKETS, speed)] += 1
                series.speed_sum += speed
        if record.cache_hit:
            self._count_hit(record)
        if record.events:
            for event in record.events:
                _count(series.events, event)
        if record.error_type:
            _count(series.errors, record.error_type)
            if status == _LIMITED:
                self.count("shipway_rejected", record.error_type)

    def _count_hit(self, record: ServedRequest) -> None:
        self.count("shipway_cache_hits", record.route, record.release, record.cache_hit)
        self.count("shipway_cache_saved_tokens", record.route, record.release, by=record.tokens_saved)
        self.count("shipway_cache_saved_usd", record.route, record.release, by=record.saved_usd)

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to a counter of `families`, which keeps 256 combinations of label values.

        Raises:
            ValueError: no such counter, or not its labels.
        """
        table = self._tables.get(name)
        if table is None:
            if name not in BY_NAME or BY_NAME[name].kind != "counter":
                raise ValueError(f"{name!r} is no counter; add it to telemetry.families")
            table = self._tables[name] = {}
        if labels not in table:
            if len(labels) != len(BY_NAME[name].labels):
                raise ValueError(f"{name} has the labels {BY_NAME[name].labels}, not {len(labels)} of them")
            if len(table) >= _MAX_ROWS:
                labels = self._made_room(name, table, labels)
        table[labels] = table.get(labels, 0.0) + by

    @staticmethod
    def _made_room(name: str, table: dict[Labels, float], labels: Labels) -> Labels:
        """Let go of the row that appeared first where releases pass by; elsewhere what is new is `other`."""
        if "release" not in BY_NAME[name].labels:
            return (OTHER,) * len(labels)
        del table[next(iter(table))]
        return labels

    def count_records(self, outcome: str, count: int = 1) -> None:
        """Count records by outcome, which is `stored`: what is torn or replayed is the collector's, in its log.

        Raises:
            ValueError: another outcome.
        """
        if outcome not in _OUTCOMES:
            raise ValueError(f"outcome {outcome!r} is not one of {', '.join(_OUTCOMES)}")
        self.count("shipway_records", outcome, by=count)

    def tables(self) -> Tables:
        """Return everything that this process has counted; any thread may call it."""
        found: Tables = {name: dict(table.items()) for name, table in list(self._tables.items())}
        for (route, release), series in list(self._series.items()):
            _add_series(found, (route, release), series)
        for name, gauge in list(self._gauges.items()):
            found[name] = gauge.read()
        return found

    def render(self) -> bytes:
        """Return the Prometheus text form of all workers of this host; any thread may call it."""
        everybody = [(self._worker, self.tables())]
        if self._others is not None:
            everybody += self._others.read().items()
        return rendered(everybody)

    def _opened(self, route: str, release: str) -> _Series:
        if not release:
            return self._series.setdefault((OTHER, ""), _Series())
        if route not in self._routes:
            if len(self._routes) >= _MAX_ROUTES:
                route = OTHER
            self._routes.add(route)
        self._forget_old(release)
        return self._series.setdefault((route, release), _Series())

    def _forget_old(self, release: str) -> None:
        """Let go of the release that appeared first when there are too many: today's must keep its name."""
        known = dict.fromkeys(name for _route, name in self._series)
        if release not in known and len(known) >= _MAX_RELEASES:
            oldest = next(name for name in known if name)
            self._series = {key: series for key, series in self._series.items() if key[1] != oldest}


def _count(counts: dict[str, int], name: str) -> None:
    known = counts.get(name)
    if known is None and len(counts) >= _MAX_NAMES:
        name = OTHER
        known = counts.get(name)
    counts[name] = (known or 0) + 1


def _add_series(found: Tables, key: tuple[str, str], series: _Series) -> None:
    def put(name: str, value: Value, *more: str) -> None:
        found.setdefault(name, {})[*key, *more] = value

    for number, count in enumerate(series.classes):
        if count:
            put("shipway_requests", count, f"{number}xx")
    put("shipway_request_duration_seconds", _histogram(series.duration, series.duration_sum_ms / 1000))
    put("shipway_ttft_seconds", _histogram(series.ttft, series.ttft_sum_ms / 1000))
    put("shipway_output_tokens_per_second", _histogram(series.speed, series.speed_sum))
    put("shipway_tokens", series.uncached, "uncached")
    put("shipway_tokens", series.cache_read, "cache_read")
    put("shipway_tokens", series.output, "output")
    put("shipway_cost_usd", series.cost)
    for event, count in list(series.events.items()):
        put("shipway_events", count, event)
    for code, count in list(series.errors.items()):
        put("shipway_errors", count, code)


def _histogram(counts: Sequence[int], total: float) -> list[float]:
    return [*counts, total]
