"""The metric families of the data plane, in the order in which they are shown.

`metrics` counts them, `exposition` renders them, the reference page is tested against them.
"""

from dataclasses import dataclass
from typing import Literal

Labels = tuple[str, ...]
Value = float | list[float]
"""A number; of a histogram the count of each bucket (the last one without a border) and then the sum."""
Tables = dict[str, dict[Labels, Value]]
"""Values by family and label values."""

# 0.8 and 2.5 s are the service levels that alerts divide by, so they must be exact bucket borders.
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.5, 5.0, 10.0, 30.0, 60.0)
SPEED_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0)

WORKER = "worker"
"""The label of nearly every sample: which worker counted it."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; a counter's samples have `_total` behind the name, as the Prometheus client writes them."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    newest: bool = False
    """Of several processes of one worker the largest value holds, not their sum."""
    of_host: bool = False
    """Every worker sees the same, so its samples name no worker."""

    @property
    def sample(self) -> str:
        """Return the name that queries use."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_OF_RELEASE = ("route", "release")

FAMILIES = (
    Family(
        "shipway_requests", "counter", "Served requests; what is refused counts too.", (*_OF_RELEASE, "status_class")
    ),
    Family(
        "shipway_request_duration_seconds", "histogram", "Time to the last byte.", _OF_RELEASE, DURATION_BUCKETS_S
    ),
    Family("shipway_ttft_seconds", "histogram", "Time to the first token.", _OF_RELEASE, DURATION_BUCKETS_S),
    Family(
        "shipway_output_tokens_per_second", "histogram", "Generated tokens per second after the first token.",
        _OF_RELEASE, SPEED_BUCKETS,
    ),
    Family("shipway_tokens", "counter", "Tokens: uncached, cache_read, output.", (*_OF_RELEASE, "kind")),
    Family("shipway_cost_usd", "counter", "Cost of served requests by the prices of models.", _OF_RELEASE),
    Family("shipway_events", "counter", "Events of served requests.", (*_OF_RELEASE, "event")),
    Family("shipway_errors", "counter", "Requests that ended in an error, by its code.", (*_OF_RELEASE, "code")),
    Family("shipway_rejected", "counter", "Requests over a limit, by the limit.", ("kind",)),
    Family("shipway_cache_hits", "counter", "Answers from the cache: exact, semantic.", (*_OF_RELEASE, "kind")),
    Family("shipway_cache_saved_tokens", "counter", "Tokens of answers from the cache, in and out.", _OF_RELEASE),
    Family("shipway_cache_saved_usd", "counter", "What answers from the cache would have cost.", _OF_RELEASE),
    Family("shipway_engine_retries", "counter", "Further tries of a call, on the same engine or another."),
    Family("shipway_engine_hedges", "counter", "Second tries beside a slow first one: sent, and won of these.",
           ("outcome",)),
    Family("shipway_breaker_state", "gauge",
           "Circuit breaker of an engine, of its releases the worst: 0 closed, 1 half open, 2 open.",
           ("engine",), newest=True),
    Family("shipway_shadow", "counter", "Shadow copies: offered, done, failed, dropped_ and why.", ("outcome",)),
    Family("shipway_feedback", "counter", "Ratings of answers: up, down, neutral.", (*_OF_RELEASE, "rating")),
    Family("shipway_records", "counter", "Records in the store, once all of their segment is: stored.", ("outcome",)),
    Family("shipway_records_pending", "gauge", "Records not in the store yet."),
    Family("shipway_log_lines", "counter", "Log lines: written, dropped.", ("outcome",)),
    Family("shipway_traces_received", "counter", "Requests whose trace was to be exported."),
    Family("shipway_traces_exported", "counter", "Traces that the exporter's target has taken."),
    Family("shipway_traces_dropped", "counter", "Traces that were not exported, by reason.", ("reason",)),
    Family("shipway_traces_pending", "gauge", "Traces on their way; received = exported + dropped + pending."),
    Family("shipway_inflight", "gauge", "Requests being served."),
    Family("shipway_queue_depth", "gauge", "Requests waiting for a place at work."),
    Family("shipway_parked", "gauge", "Requests waiting for a route that a rollout exchanges in place."),
    Family("shipway_streams_open", "gauge", "Streamed replies that have begun and not ended."),
    Family("shipway_snapshot_version", "gauge", "Version of the snapshot in force.", newest=True),
    Family("shipway_worker_starts", "counter", "Starts of this worker; its restarts are one less."),
    Family("shipway_process_restarts", "counter", "Restarts by the supervisor since `shipway up`.", ("process",),
           newest=True, of_host=True),
    Family("process_cpu_seconds", "counter", "CPU time of the worker's process."),
    Family("process_resident_memory_bytes", "gauge", "Memory of the worker's process."),
    Family("process_open_fds", "gauge", "Open file descriptors of the worker's process."),
    Family("process_start_time_seconds", "gauge", "When the worker's process started, Unix time.", newest=True),
)  # fmt: skip

BY_NAME = {family.name: family for family in FAMILIES}


def add(into: Tables, more: Tables) -> None:
    """Add tables to others, in place; families and shapes that this version does not have are left out."""
    for name, rows in more.items():
        family = BY_NAME.get(name)
        if family is None:
            continue
        table = into.setdefault(name, {})
        for labels, value in rows.items():
            if _fits(family, labels, value):
                table[labels] = _sum(family, table.get(labels), value)


def counters_of(tables: Tables) -> Tables:
    """Return what outlives its process: counters and histograms, no gauges."""
    return {name: rows for name, rows in tables.items() if BY_NAME[name].kind != "gauge"}


def _fits(family: Family, labels: Labels, value: Value) -> bool:
    numbers = len(value) if isinstance(value, list) else 0
    return len(labels) == len(family.labels) and numbers == (len(family.buckets) + 2 if family.buckets else 0)


def _sum(family: Family, before: Value | None, value: Value) -> Value:
    if isinstance(value, list):
        known = before if isinstance(before, list) else [0.0] * len(value)
        return [a + b for a, b in zip(known, value, strict=True)]
    if not isinstance(before, float | int):
        return value
    return max(before, value) if family.newest else before + value
