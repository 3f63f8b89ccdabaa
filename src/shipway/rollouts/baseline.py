"""What was known of the stable release before a rollout began: frozen in the rollout's row, so that it cannot drift.

`services/baselines.py` reads it from the records of the last day. A figure from fewer than `MIN_REQUESTS` is None:
nothing is known, which is not the same as zero.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.core.record import ERROR, TIMEOUT, ServedRequest
from shipway.stats.chernoff import rate_upper

MIN_REQUESTS = 100
DAY_S = 86_400.0
_SERVER_ERROR = 500
# Quantiles that are kept; a metric may name any of them.
QUANTILES = (0.5, 0.9, 0.95, 0.99)
_ALPHA = 0.01
_LOWEST_RATE = 0.001
_HIGHEST_RATE = 0.9


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one route, or of all together; counts are always there, the rest is None while unknown.

    `latency_ms` and `ttft_ms` hold a value for each of `QUANTILES`, in that order. `quality` is the mean judged score.
    """

    requests: int = 0
    conversations: int = 0
    bad_conversations: int = 0
    failures: int = 0
    requests_per_s: float | None = None
    conversations_per_s: float | None = None
    bad_rate: float | None = None
    error_rate: float | None = None
    latency_ms: tuple[float, ...] | None = None
    ttft_ms: tuple[float, ...] | None = None
    cost_p95_usd: float | None = None
    quality: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Figures":
        """Return the figures of a JSON form."""
        tuples = {name: data[name] and tuple(data[name]) for name in ("latency_ms", "ttft_ms")}
        return cls(**{**data, **tuples})

    def quantile(self, of: str, q: float) -> float | None:
        """Return the frozen quantile of `latency_ms` or `ttft_ms`, that of the next larger of `QUANTILES`."""
        values = self.latency_ms if of == "latency_ms" else self.ttft_ms
        if values is None:
            return None
        return next((value for known, value in zip(QUANTILES, values, strict=True) if known >= q), values[-1])

    @property
    def bad_rate_upper(self) -> float | None:
        """How high the rate of bad conversations may be, with 99 % confidence; None while unknown."""
        if self.bad_rate is None:
            return None
        return rate_upper(self.bad_conversations, self.conversations, alpha=_ALPHA)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What `release` did in the `span_s` seconds before `at_s`."""

    release: str
    at_s: float
    span_s: float
    total: Figures = field(default_factory=Figures)
    routes: tuple[tuple[str, Figures], ...] = ()

    def route(self, name: str) -> Figures:
        """Return a route's figures, empty ones when it had no request."""
        return dict(self.routes).get(name, Figures())

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "routes": [[name, asdict(figures)] for name, figures in self.routes]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Baseline":
        """Return the baseline of a JSON form."""
        routes = tuple((name, Figures.from_dict(figures)) for name, figures in data["routes"])
        return cls(data["release"], data["at_s"], data["span_s"], Figures.from_dict(data["total"]), routes)


def baseline_of(
    records: Sequence[ServedRequest],
    *,
    release: str,
    bad_events: Collection[str],
    now_s: float,
    qualities: Mapping[str, Sequence[float]] | None = None,
) -> Baseline:
    """Return the baseline of a release's records; those of others, of shadows and older than a day are left out.

    `qualities` are judged scores by route.
    """
    scores = qualities or {}
    bad = frozenset(bad_events)
    own = [r for r in records if r.release == release and not r.shadow_of and now_s - DAY_S < r.at_s <= now_s]
    span_s = now_s - min((record.at_s for record in own), default=now_s)
    routes = tuple(
        (name, _figures([r for r in own if r.route == name], bad, span_s, scores.get(name, ())))
        for name in sorted({record.route for record in own})
    )
    everything = [score for values in scores.values() for score in values]
    return Baseline(release, now_s, span_s, _figures(own, bad, span_s, everything), routes)


def _figures(
    records: Sequence[ServedRequest], bad: frozenset[str], span_s: float, qualities: Sequence[float]
) -> Figures:
    conversations = {record.conversation for record in records}
    turned = {record.conversation for record in records if not bad.isdisjoint(record.events)}
    failures = sum(is_failure(record) for record in records)
    quality = math.fsum(qualities) / len(qualities) if len(qualities) >= MIN_REQUESTS else None
    figures = Figures(len(records), len(conversations), len(turned), failures, quality=quality)
    if len(records) < MIN_REQUESTS:
        return figures
    costs = _quantiles(record.cost_usd for record in records)
    return Figures(
        **{
            **asdict(figures),
            "requests_per_s": len(records) / span_s if span_s > 0.0 else None,
            "conversations_per_s": len(conversations) / span_s if span_s > 0.0 else None,
            "bad_rate": len(turned) / len(conversations),
            "error_rate": failures / len(records),
            "latency_ms": _quantiles(record.latency_ms for record in records),
            "ttft_ms": _quantiles(record.ttft_ms for record in records if record.ttft_ms is not None),
            "cost_p95_usd": costs and costs[QUANTILES.index(0.95)],
        }
    )


def known_bad_rate(baseline: Baseline | None, arms: Iterable[tuple[int, int]]) -> float | None:
    """Return how high the rate of bad conversations may be, with 99 % confidence each; None if nothing is known.

    The highest of the baseline's and that of each arm, (bad, conversations), with at least `MIN_REQUESTS` of them;
    within what a watch can work with: no service is taken to be better than 1 in 1000.
    """
    before = None if baseline is None else baseline.total.bad_rate_upper
    rates = [] if before is None else [before]
    rates += [rate_upper(min(bad, n), n, alpha=_ALPHA) for bad, n in arms if n >= MIN_REQUESTS]
    return min(max(*rates, _LOWEST_RATE), _HIGHEST_RATE) if rates else None


def is_failure(record: ServedRequest) -> bool:
    """Tell whether a request failed, whatever the plan's bad events are."""
    return record.status >= _SERVER_ERROR or ERROR in record.events or TIMEOUT in record.events


def _quantiles(values: Iterable[float]) -> tuple[float, ...] | None:
    """Return the values at the ranks ceil(q n), None when there are too few."""
    ordered = sorted(values)
    if len(ordered) < MIN_REQUESTS:
        return None
    return tuple(ordered[max(0, math.ceil(q * len(ordered)) - 1)] for q in QUANTILES)
