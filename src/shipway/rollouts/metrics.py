"""What a rollout is judged on beside its bad conversations, and how the chance of a false alarm is divided.

`plan.metrics` holds them, `measuring` makes of them what is counted of each record, `readings` what the counts say.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shipway.core.observation import JUDGED_PAIR, PAIR, QUALITY, SAFETY, THUMBS
from shipway.stats.betting import PairState
from shipway.stats.means import Moments

BAD = "bad"
"""The reading of the plan's `events`; its share is what the metrics leave."""

EVENT, SLOWER, OVER, MEAN, SCORE, LOW, PAIRS, ALONE = "event", "slower", "over", "mean", "score", "low", "pair", "alone"
PAIRED = (PAIR, JUDGED_PAIR)
"""Observations that compare a copy with what the user got: by their records, and by a judge of both answers."""
KINDS = (EVENT, SLOWER, OVER, MEAN, SCORE, LOW, PAIRS, ALONE)
COUNTED = frozenset({EVENT, SLOWER, OVER, LOW})
"""Kinds that count conversations with an event, once each."""
_OF: Mapping[str, tuple[str, ...]] = {
    SLOWER: ("latency_ms", "ttft_ms"),
    OVER: ("cost_usd", "latency_ms", "tokens_in", "tokens_out", "ttft_ms"),
    MEAN: ("cost_usd", "latency_ms", "tokens_in", "tokens_out", "ttft_ms"),
    SCORE: (QUALITY, SAFETY, THUMBS),
    LOW: (QUALITY, SAFETY, THUMBS),
    PAIRS: PAIRED,
}
# A conversation's memory has 24 bits: 8 for its arm and first weight, 4 for the fixed rules, the rest one per metric.
MAX_METRICS = 12


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that must not get worse; `share` is its part of the plan's alpha.

    - event: conversations with one of `events`; harm when their rate is provably over `ratio` times stable's.
    - slower: conversations with a request whose `of` is over stable's `quantile` of before the rollout; likewise.
    - over: conversations with a request whose `of` is over `limit`; likewise.
    - low: conversations with an observation `of` below `limit`; likewise.
    - mean: the mean logarithm of `of`, a conversation's first request; harm when it rose by provably over `margin`
      (0.5 is 50 %).
    - score: the mean of observations `of`, a conversation's first; harm when it fell by provably over `margin`.
    - pair: shadow pairs, a conversation's first; harm when the candidate is provably over `margin` worse, no harm when
      a drop of `tolerance` is ruled out.
    - alone: bad conversations where everybody is on the candidate; harm when their rate is provably over `ratio` times
      what was known of stable.
    """

    name: str
    kind: str
    share: float
    of: str = ""
    events: tuple[str, ...] = ()
    quantile: float = 0.95
    limit: float = 0.0
    ratio: float = 1.0
    margin: float = 0.0
    tolerance: float = 0.05

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Metric":
        """Return the metric of a JSON form."""
        return cls(**{**data, "events": tuple(data.get("events", ()))})


DEFAULT_METRICS = (
    Metric("latency", SLOWER, 0.08, of="latency_ms", ratio=2.0),
    Metric("ttft", SLOWER, 0.04, of="ttft_ms", ratio=2.0),
    Metric("cost", MEAN, 0.04, of="cost_usd", margin=0.5),
    Metric("tokens", MEAN, 0.04, of="tokens_out", margin=0.5),
    Metric("pairs", PAIRS, 0.1, of=PAIR, margin=0.02),
    Metric("judged_pairs", PAIRS, 0.05, of=JUDGED_PAIR, margin=0.02),
    Metric("quality", SCORE, 0.02, of=QUALITY, margin=0.05),
    Metric("thumbs", LOW, 0.02, of=THUMBS, limit=0.5, ratio=1.5),
    Metric("alone", ALONE, 0.03, ratio=1.5),
)


@dataclass(frozen=True, slots=True)
class MetricSums:
    """What was counted for one metric; `events` and `moments` are (candidate, stable) at each weight of the evidence.

    The places are those of `CanaryEvidence.strata`; they may be fewer where nothing was counted at the later weights.
    """

    name: str
    events: tuple[tuple[int, int], ...] = ()
    moments: tuple[tuple[Moments, Moments], ...] = ()
    pairs: PairState | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "events": [list(item) for item in self.events],
            "moments": [[candidate.to_dict(), stable.to_dict()] for candidate, stable in self.moments],
            "pairs": self.pairs and self.pairs.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "MetricSums":
        """Return the sums of a JSON form."""
        return cls(
            name=data["name"],
            events=tuple((candidate, stable) for candidate, stable in data["events"]),
            moments=tuple((Moments.from_dict(one), Moments.from_dict(other)) for one, other in data["moments"]),
            pairs=data["pairs"] and PairState.from_dict(data["pairs"]),
        )


@dataclass(frozen=True, slots=True)
class MetricReading:
    """What the counts of one metric say; `needed` is the e-value that alone would roll back.

    `judged` False means that there is nothing to judge by, and `text` why. `no_harm_e` is there for pairs.
    """

    name: str
    judged: bool
    text: str
    e_value: float = 1.0
    needed: float = 0.0
    share: float = field(default=0.0)
    no_harm_e: float | None = None


def shares(metrics: Sequence[Metric], available: Collection[str]) -> dict[str, float]:
    """Return each reading's part of alpha, `BAD` included, summing to 1.

    What is not `available` gives its part to the bad conversations, or, where those cannot be judged either, to the
    others in proportion. It must be known before the first record, or the sum of the chances would not hold.
    """
    parts = {metric.name: metric.share for metric in metrics if metric.name in available}
    if BAD in available or not parts:
        return {BAD: 1.0 - sum(parts.values()), **parts}
    total = sum(parts.values())
    if total <= 0.0:
        return {BAD: 0.0, **{name: 1.0 / len(parts) for name in parts}}
    return {BAD: 0.0, **{name: share / total for name, share in parts.items()}}


def metric_problems(metrics: Sequence[Metric]) -> Iterator[str]:
    """Yield what makes metrics impossible, one line a fault with key and value."""
    names = [metric.name for metric in metrics]
    if len(metrics) > MAX_METRICS:
        yield f"metrics: {len(metrics)} metrics; use at most {MAX_METRICS}"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"metrics: {name!r} is there twice; give each metric its own name"
    if BAD in names:
        yield f"metrics: {BAD!r} is what the plan's events are called; choose another name"
    total = math.fsum(metric.share for metric in metrics)
    if not total < 1.0:
        yield f"metrics: the shares sum to {total:g}; they must leave a part of alpha to the bad conversations"
    for metric in metrics:
        yield from _one_problem(f"metrics.{metric.name}", metric)


def _one_problem(key: str, metric: Metric) -> Iterator[str]:
    if metric.kind not in KINDS:
        yield f"{key}.kind: {metric.kind!r} is unknown; use one of {', '.join(KINDS)}"
        return
    if not 0.0 < metric.share < 1.0:
        yield f"{key}.share: {metric.share!r} is not between 0 and 1; it is a part of alpha"
    of = _OF.get(metric.kind, ("",))
    if metric.of not in of:
        allowed = ", ".join(of) if of != ("",) else "nothing"
        yield f"{key}.of: {metric.of!r} is nothing that {metric.kind} can measure; use {allowed}"
    if metric.kind == EVENT and not metric.events:
        yield f"{key}.events: the list is empty, so nothing could ever count; name at least one"
    if metric.kind == SLOWER and not 0.0 < metric.quantile < 1.0:
        yield f"{key}.quantile: {metric.quantile!r} is not between 0 and 1; 0.95 is usual"
    if metric.kind in {OVER, LOW} and not 0.0 < metric.limit < math.inf:
        yield f"{key}.limit: {metric.limit!r} must be a number above 0"
    if metric.kind in COUNTED | {ALONE} and not 1.0 <= metric.ratio < math.inf:
        yield f"{key}.ratio: {metric.ratio!r} must be at least 1: how many times stable's rate is still no harm"
    if metric.kind in {MEAN, SCORE, PAIRS} and not 0.0 <= metric.margin < (math.inf if metric.kind == MEAN else 1.0):
        yield f"{key}.margin: {metric.margin!r} is no margin; 0.5 is 50 % of a mean, 0.05 is 5 points of a score"
    if metric.kind == PAIRS and not 0.0 < metric.tolerance < 1.0:
        yield f"{key}.tolerance: {metric.tolerance!r} is not between 0 and 1; 0.05 is 5 points"
