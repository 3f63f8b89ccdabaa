"""From samples to figures: rates, errors, quantiles with intervals, by stage and by kind of request."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from shipway.load.sample import Sample
from shipway.stats.order_statistics import Quantile, quantile_with_interval
from shipway.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

QUANTILES = (50, 90, 95, 99)
_MEASURES: Mapping[str, Callable[[Sample], float | None]] = {
    "p": lambda sample: sample.latency_ms,
    "ttft_p": lambda sample: sample.ttft_ms,
    "token_gap_p": lambda sample: _ms(sample.outcome.mean_gap_s),
}


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its exact interval. Source: Clopper and Pearson 1934."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What a set of requests came to.

    `quantiles` by name, such as `p99_ms` and `ttft_p50_ms`. Latencies count from when a request was due; they are those
    of answers and of requests that timed out, which took at least so long. Other errors have none.
    """

    requests: int
    errors: int
    seconds: float
    error_rate: Share | None
    quantiles: Mapping[str, Quantile] = field(hash=False)
    service_p99_ms: float | None
    longest_ms: float | None
    longest_gap_ms: float | None
    broken_streams: int
    timeouts: int
    tokens: int | None
    reasons: Mapping[str, int] = field(default_factory=dict, hash=False)

    @property
    def per_s(self) -> float:
        """Return requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_s(self) -> float | None:
        """Return tokens a second, None where the target does not count them."""
        return None if self.tokens is None or not self.seconds else self.tokens / self.seconds


def figures(samples: Iterable[Sample], seconds: float, confidence: float) -> Figures:
    """Return the figures of samples that were due within `seconds`; each interval holds with `confidence`."""
    found = list(samples)
    timed = [sample for sample in found if not sample.outcome.error or sample.outcome.is_timeout]
    errors = [sample for sample in found if sample.outcome.error]
    quantiles: dict[str, Quantile] = {}
    for prefix, measure in _MEASURES.items():
        quantiles |= _quantiles(prefix, [value for item in timed if (value := measure(item)) is not None], confidence)
    service = quantile_with_interval(sorted(sample.service_ms for sample in timed), 0.99)
    tokens = [sample.outcome.tokens for sample in found if sample.outcome.tokens is not None]
    return Figures(
        requests=len(found),
        errors=len(errors),
        seconds=seconds,
        error_rate=share(len(errors), len(found), confidence),
        quantiles=quantiles,
        service_p99_ms=service.value if service else None,
        longest_ms=max((sample.latency_ms for sample in timed), default=None),
        longest_gap_ms=max(filter(None, (_ms(item.outcome.longest_gap_s) for item in found)), default=None),
        broken_streams=sum(sample.outcome.is_broken_stream for sample in errors),
        timeouts=sum(sample.outcome.is_timeout for sample in errors),
        tokens=sum(tokens) if tokens else None,
        reasons=dict(Counter(sample.outcome.error for sample in errors).most_common()),
    )


def share(count: int, of: int, confidence: float) -> Share | None:
    """Return a share and its interval, None of nothing."""
    if not of:
        return None
    tail = (1.0 - confidence) / 2.0
    return Share(count / of, clopper_pearson_lower(count, of, tail), clopper_pearson_upper(count, of, tail))


def _quantiles(prefix: str, values: Sequence[float], confidence: float) -> dict[str, Quantile]:
    ordered = sorted(values)
    found = {f"{prefix}{q}_ms": quantile_with_interval(ordered, q / 100.0, confidence) for q in QUANTILES}
    return {name: quantile for name, quantile in found.items() if quantile is not None}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000.0
