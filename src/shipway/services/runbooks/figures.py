"""What the newest records say of each release on each route; runbooks show it. Pure but for reading the store."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shipway.core.ports import RecordStore
from shipway.core.record import ServedRequest

_PAGE = 5000
_MOST_RECORDS = 50_000
_FAILED = 500


@dataclass(frozen=True, slots=True)
class Figure:
    """One release on one route; times are None without a request that has them. `events` are the most frequent."""

    route: str
    release: str
    is_candidate: bool
    requests: int
    failed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    ttft_p95_ms: float | None
    tokens_per_s: float | None
    cost_usd: float
    events: tuple[tuple[str, int], ...]


async def recent_records(records: RecordStore, environment: str, *, since_s: float) -> list[ServedRequest]:
    """Return the users' requests since a Unix time, the newest 50,000 of them at most, oldest first."""
    position = max(0, await records.last_position() - _MOST_RECORDS)
    found: list[ServedRequest] = []
    while page := await records.after(position, environment=environment, limit=_PAGE):
        position = page[-1].position
        found += [item.record for item in page if item.record.at_s >= since_s and not item.record.shadow_of]
    return found


def figures_of(records: Iterable[ServedRequest]) -> tuple[Figure, ...]:
    """Return the figures by route and release, the busiest first."""
    groups: dict[tuple[str, str, bool], list[ServedRequest]] = defaultdict(list)
    for record in records:
        groups[record.route, record.release, record.is_candidate].append(record)
    found = [_figure(route, release, arm, group) for (route, release, arm), group in groups.items()]
    return tuple(sorted(found, key=lambda figure: (-figure.requests, figure.route, figure.release)))


def quantile(values: Sequence[float], q: float) -> float | None:
    """Return the nearest-rank quantile, None without a value."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def _figure(route: str, release: str, is_candidate: bool, group: list[ServedRequest]) -> Figure:  # noqa: FBT001 - a key
    # What a client cut short says nothing about how long an answer takes.
    whole = [record for record in group if record.status < _FAILED and record.status != 499]  # noqa: PLR2004
    latencies = [record.latency_ms for record in whole]
    first = [record.ttft_ms for record in whole if record.ttft_ms is not None]
    generating_s = sum(record.latency_ms for record in whole if record.tokens_out) / 1000
    events = Counter(event for record in group for event in record.events)
    return Figure(
        route=route,
        release=release,
        is_candidate=is_candidate,
        requests=len(group),
        failed=sum(record.status >= _FAILED for record in group),
        p50_ms=quantile(latencies, 0.50),
        p95_ms=quantile(latencies, 0.95),
        p99_ms=quantile(latencies, 0.99),
        ttft_p95_ms=quantile(first, 0.95),
        tokens_per_s=sum(record.tokens_out for record in whole) / generating_s if generating_s else None,
        cost_usd=sum(record.cost_usd for record in group),
        events=tuple(events.most_common(5)),
    )
