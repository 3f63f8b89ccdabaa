"""Prometheus metrics of one data-plane worker; the gateway observes each record and serves `render()`."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shipway.core.record import ServedRequest

OTHER = "other"

# 0.8 and 2.5 s are the service levels that alerts divide by, so they must be exact bucket borders.
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.5, 5.0, 10.0, 30.0, 60.0)
_MAX_ROUTES = 64
_MAX_RELEASES = 64
_MAX_EVENTS = 32


@dataclass(frozen=True, slots=True)
class _Series:
    """The series of one route and release, looked up once because a look-up costs more than an update."""

    duration: Histogram
    ttft: Histogram
    uncached: Counter
    cache_read: Counter
    output: Counter
    cost: Counter


class DataPlaneMetrics:
    """What a worker counts. Labels are bounded: whatever is not deployed counts as `other`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self._routes: set[str] = set()
        self._releases: set[str] = set()
        self._events: set[str] = set()
        self._series: dict[tuple[str, str], _Series] = {}
        own = self._registry
        of_release = ("route", "release")
        self._requests = Counter("shipway_requests", "Served requests.", (*of_release, "status_class"), registry=own)
        self._duration = Histogram(
            "shipway_request_duration_seconds", "Time to the last byte.", of_release, registry=own,
            buckets=DURATION_BUCKETS_S,
        )  # fmt: skip
        self._ttft = Histogram(
            "shipway_ttft_seconds", "Time to the first token.", of_release, registry=own, buckets=DURATION_BUCKETS_S
        )
        self._tokens = Counter("shipway_tokens", "Tokens, an additive partition.", (*of_release, "kind"), registry=own)
        self._cost = Counter("shipway_cost_usd", "Cost of served requests.", of_release, registry=own)
        self._event = Counter("shipway_events", "Events of served requests.", (*of_release, "event"), registry=own)
        self._records = Counter("shipway_records", "Records by what became of them.", ("outcome",), registry=own)
        self.inflight = Gauge("shipway_inflight", "Requests being served.", registry=own)
        self.snapshot_version = Gauge("shipway_snapshot_version", "Version of the snapshot in force.", registry=own)
        self.records_pending = Gauge("shipway_records_pending", "Records not in the store yet.", registry=own)
        self.queue_depth = Gauge("shipway_queue_depth", "Requests waiting for a place at work.", registry=own)

    def observe(self, record: ServedRequest) -> None:
        """Count a served request; a route that got no release is not deployed, whatever a client called it."""
        route = _bounded(record.route, self._routes, _MAX_ROUTES) if record.release else OTHER
        release = _bounded(record.release, self._releases, _MAX_RELEASES)
        series = self._of(route, release)
        self._requests.labels(route, release, f"{record.status // 100}xx").inc()
        series.duration.observe(record.latency_ms / 1000)
        if record.ttft_ms is not None:
            series.ttft.observe(record.ttft_ms / 1000)
        series.uncached.inc(record.tokens_in)
        series.cache_read.inc(record.tokens_cache_read)
        series.output.inc(record.tokens_out)
        series.cost.inc(record.cost_usd)
        for event in record.events:
            self._event.labels(route, release, _bounded(event, self._events, _MAX_EVENTS)).inc()

    def count_records(self, outcome: str, count: int = 1) -> None:
        """Count records by outcome: `stored`, `replayed` or `torn`.

        Raises:
            ValueError: another outcome.
        """
        if outcome not in {"stored", "replayed", "torn"}:
            raise ValueError(f"outcome {outcome!r} is not one of stored, replayed, torn")
        self._records.labels(outcome).inc(count)

    def render(self) -> bytes:
        """Return the Prometheus text form."""
        return generate_latest(self._registry)

    def _of(self, route: str, release: str) -> _Series:
        series = self._series.get((route, release))
        if series is None:
            series = self._series[route, release] = _Series(
                duration=self._duration.labels(route, release),
                ttft=self._ttft.labels(route, release),
                uncached=self._tokens.labels(route, release, "uncached"),
                cache_read=self._tokens.labels(route, release, "cache_read"),
                output=self._tokens.labels(route, release, "output"),
                cost=self._cost.labels(route, release),
            )
        return series


def _bounded(value: str, seen: set[str], limit: int) -> str:
    if value in seen:
        return value
    if len(seen) >= limit:
        return OTHER
    seen.add(value)
    return value
