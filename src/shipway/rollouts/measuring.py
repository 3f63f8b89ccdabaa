"""What is counted of each record and observation: a plan's metrics and rules made into plain functions, once per look.

`folding` calls them for every record, so they do no more than read a field and compare.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shipway.core.record import ServedRequest
from shipway.rollouts.baseline import Baseline, Figures, is_failure
from shipway.rollouts.metrics import EVENT, LOW, MEAN, OVER, PAIRS, SCORE, SLOWER, Metric
from shipway.rollouts.rules import OFF, Rules, slower_than_ms

Hit = Callable[[ServedRequest], bool]
Value = Callable[[ServedRequest], float | None]
_CACHED = frozenset({"tokens_in", "tokens_out", "latency_ms", "ttft_ms"})


@dataclass(frozen=True, slots=True)
class Probe:
    """A metric and its place in a conversation's memory."""

    metric: Metric
    place: int


@dataclass(frozen=True, slots=True)
class Measures:
    """All that is counted; the empty one counts bad conversations alone."""

    hits: tuple[tuple[Probe, Hit], ...] = ()
    values: tuple[tuple[Probe, Value], ...] = ()
    observed: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    slow_ms: float = math.inf
    slower_ms: Mapping[str, float] = field(default_factory=dict)
    safety_events: frozenset[str] = frozenset()


def measures_of(metrics: Sequence[Metric], rules: Rules, baseline: Baseline | None) -> Measures:
    """Return what a plan's metrics and rules need; what depends on an unknown baseline counts nothing."""
    probes = [Probe(metric, place) for place, metric in enumerate(metrics)]
    hits = [(probe, hit) for probe in probes if (hit := _hit(probe.metric, baseline)) is not None]
    values = [(probe, _value(probe.metric.of)) for probe in probes if probe.metric.kind == MEAN]
    observed: dict[str, tuple[Probe, ...]] = {}
    for probe in probes:
        if probe.metric.kind in {SCORE, LOW, PAIRS}:
            observed[probe.metric.of] = (*observed.get(probe.metric.of, ()), probe)
    routes = [] if baseline is None else [name for name, _ in baseline.routes]
    limits = {route: slower_than_ms(rules, baseline, route) for route in routes}
    return Measures(
        hits=tuple(hits),
        values=tuple(values),
        observed=observed,
        slow_ms=math.inf if rules.p99_ms.action == OFF else rules.p99_ms.limit,
        slower_ms={route: limit for route, limit in limits.items() if limit is not None},
        safety_events=frozenset(rules.safety_events),
    )


def frozen_limits(metric: Metric, baseline: Baseline | None) -> dict[str, float]:
    """Return the limit of a `slower` metric on each route for which stable's quantile is known."""
    found: Sequence[tuple[str, Figures]] = () if baseline is None else baseline.routes
    quantiles = {route: figures.quantile(metric.of, metric.quantile) for route, figures in found}
    return {route: limit for route, limit in quantiles.items() if limit is not None}


def _hit(metric: Metric, baseline: Baseline | None) -> Hit | None:
    match metric.kind:
        case kind if kind == EVENT:
            events = frozenset(metric.events)
            return lambda record: not events.isdisjoint(record.events)
        case kind if kind == SLOWER:
            limits = frozen_limits(metric, baseline)
            if metric.of == "latency_ms":
                return lambda record: record.latency_ms > limits.get(record.route, math.inf)
            return lambda record: (record.ttft_ms or 0.0) > limits.get(record.route, math.inf)
        case kind if kind == OVER:
            of, limit = metric.of, metric.limit
            return lambda record: (getattr(record, of) or 0.0) > limit
        case _:
            return None


def _value(of: str) -> Value:
    """Return the logarithm of a figure; None where a request tells nothing, as one that failed.

    An answer that was given again has no tokens or time of its own and costs what it cost the first time: a candidate
    whose cache is still cold must not look expensive.
    """

    def value(record: ServedRequest) -> float | None:
        if is_failure(record) or (record.cache_hit and of in _CACHED):
            return None
        figure = record.cost_usd + record.saved_usd if of == "cost_usd" else getattr(record, of)
        return math.log(figure) if figure else None

    return value
