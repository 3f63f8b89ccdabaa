"""A mergeable quantile sketch with logarithmic buckets: p50, p95 and p99 of latencies, tokens or costs.

Records roll up per minute into sketches and merge them into hours and days; quantiles themselves cannot be merged.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from shipway.stats.arguments import check_open_share

RELATIVE_ERROR = 0.01
# Values below this, zero included, share one bucket that reads as zero: a nanosecond when the unit is milliseconds.
SMALLEST_VALUE = 1e-6


@dataclass(frozen=True, slots=True)
class LogBuckets:
    """Counts per bucket; bucket i holds the values in (gamma^(i-1), gamma^i], gamma = (1 + e) / (1 - e).

    An instance never changes: `add`, `add_all` and `merge` return a new one. Any quantile lies within the relative
    error e of the value at that rank.

    Source: Masson, Rim and Lee 2019, arXiv 1908.10693 (DDSketch).
    """

    relative_error: float = RELATIVE_ERROR
    zero_count: int = 0
    total: float = 0.0
    counts: Mapping[int, int] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse a relative error outside (0, 1) and negative counts."""
        check_open_share("relative_error", self.relative_error)
        if self.zero_count < 0 or any(count < 1 for count in self.counts.values()) or not math.isfinite(self.total):
            msg = f"bucket counts must be positive and the total finite, got {self.zero_count}, {dict(self.counts)}"
            raise ValueError(msg)

    @property
    def count(self) -> int:
        """The number of values added."""
        return self.zero_count + sum(self.counts.values())

    @property
    def mean(self) -> float:
        """The exact mean of the values added.

        Raises:
            ValueError: the sketch is empty.
        """
        self._check_filled("mean")
        return self.total / self.count

    def add(self, value: float) -> Self:
        """Return the sketch with one more value.

        Raises:
            ValueError: `value` is negative, NaN or infinite.
        """
        return self.add_all((value,))

    def add_all(self, values: Iterable[float]) -> Self:
        """Return the sketch with all these values; one copy instead of one per value.

        Raises:
            ValueError: a value is negative, NaN or infinite.
        """
        log_gamma = self._log_gamma()
        counts = Counter(self.counts)
        zero_count, total = self.zero_count, self.total
        for value in values:
            if not (math.isfinite(value) and value >= 0.0):
                msg = f"a sketch holds finite values of zero or more, got {value!r}"
                raise ValueError(msg)
            total += value
            if value < SMALLEST_VALUE:
                zero_count += 1
            else:
                counts[math.ceil(math.log(value) / log_gamma)] += 1
        return type(self)(self.relative_error, zero_count, total, dict(counts))

    def merge(self, other: Self) -> Self:
        """Return the sketch of both sets of values; equal to having added them to one sketch.

        Raises:
            ValueError: the sketches have different relative errors, so that their buckets do not line up.
        """
        if other.relative_error != self.relative_error:
            msg = f"cannot merge sketches with relative errors {self.relative_error!r} and {other.relative_error!r}"
            raise ValueError(msg)
        counts = dict(Counter(self.counts) + Counter(other.counts))
        return type(self)(self.relative_error, self.zero_count + other.zero_count, self.total + other.total, counts)

    def quantile(self, q: float) -> float:
        """Estimate the value at rank floor(q * (count - 1)) of the sorted values, counted from 0.

        Raises:
            ValueError: the sketch is empty or `q` lies outside [0, 1].
        """
        if not 0.0 <= q <= 1.0:
            msg = f"q must lie between 0 and 1, got {q!r}"
            raise ValueError(msg)
        self._check_filled("quantile")
        rank = math.floor(q * (self.count - 1))
        seen = self.zero_count
        if rank < seen:
            return 0.0
        log_gamma = self._log_gamma()
        middle = 2.0 / (math.exp(log_gamma) + 1.0)
        index = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if rank < seen:
                break
        return middle * math.exp(index * log_gamma)

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-ready form; `from_dict` reads it back."""
        return {
            "relative_error": self.relative_error,
            "zero_count": self.zero_count,
            "total": self.total,
            "counts": {str(index): self.counts[index] for index in sorted(self.counts)},
        }

    @classmethod
    def from_dict(cls, payload: Mapping[str, object]) -> Self:
        """Read the form that `to_dict` wrote.

        Raises:
            ValueError: a field is missing or is not what `to_dict` writes.
        """
        relative_error, zero_count = payload.get("relative_error"), payload.get("zero_count")
        total, counts = payload.get("total"), payload.get("counts")
        if (
            not isinstance(relative_error, int | float)
            or not isinstance(zero_count, int)
            or not isinstance(total, int | float)
            or not isinstance(counts, Mapping)
            or not all(isinstance(count, int) for count in counts.values())
        ):
            msg = f"not a stored latency sketch: {dict(payload)!r}"
            raise ValueError(msg)
        buckets = {int(index): count for index, count in counts.items()}
        return cls(float(relative_error), zero_count, float(total), buckets)

    def _log_gamma(self) -> float:
        return math.log1p(self.relative_error) - math.log1p(-self.relative_error)

    def _check_filled(self, what: str) -> None:
        if self.count == 0:
            msg = f"an empty sketch has no {what}; report NO_DATA instead"
            raise ValueError(msg)
