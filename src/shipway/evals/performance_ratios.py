"""Two measurements of performance side by side: ratios with intervals.

A number of milliseconds belongs to a machine and says nothing elsewhere, so limits hold for ratios. `shipway eval perf`
calls this when it has a baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shipway.core.verdicts import Verdict, combined
from shipway.evals.performance import Iteration, Measurement, Timing, differences, summarised

METRICS = ("p50_ms", "p99_ms", "ttft_p50_ms", "tokens_per_s")
HIGHER_IS_BETTER = frozenset({"tokens_per_s"})
GATED = "p50_ms"
"""What a limit on the ratio holds for: the tail of 50 batches is too noisy to block anything."""
ALPHA = 0.05
_RESAMPLES = 2000
_MOST_VALUES_AT_ONCE = 4_000_000
# A bootstrap says little about a quantile that fewer values than these lie beyond.
_ENOUGH_BEYOND = 5

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure against that of the baseline: 1.1 is 10 % more. None where one of the two is missing.

    The interval is a bootstrap over whole batches, whose requests are not independent, at a level that all intervals of
    one metric hold together.
    """

    batch: int
    metric: str
    now: float | None
    before: float | None
    ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed; without a limit nothing is judged. `problems` say why nothing is compared.

    `in_turns` says that both were measured together. Two measurements at different times differ by what else the
    machine did, which no interval holds.
    """

    ratios: tuple[Ratio, ...]
    max_ratio: float | None = None
    problems: tuple[str, ...] = ()
    before: str = ""
    in_turns: bool = False

    @property
    def verdict(self) -> Verdict | None:
        """PASS when every gated ratio is surely at most the limit, FAIL when one is surely above, None without one."""
        if self.problems:
            return Verdict.ERROR
        limit = self.max_ratio
        if limit is None:
            return None
        return combined(_judged(ratio, limit) for ratio in self.ratios if ratio.metric == GATED)


def compared(
    now: Measurement,
    before: Measurement,
    *,
    max_ratio: float | None = None,
    seed: int = 1,
    alpha: float = ALPHA,
    in_turns: bool = False,
) -> Comparison:
    """Return how the figures changed; measurements of different things, or on different machines, are not compared.

    The intervals of one metric hold together with probability `1 - alpha` (Bonferroni over the batch sizes).
    """
    problems = differences(now, before)
    if problems:
        return Comparison((), max_ratio, tuple(problems), before.target, in_turns)
    tail = alpha / (2.0 * len(now.plan.batch_sizes))
    rng = np.random.default_rng(seed)
    ratios: list[Ratio] = []
    for batch in now.plan.batch_sizes:
        ratios += _ratios(batch, (now.batches[batch], before.batches[batch]), tail, rng)
    return Comparison(tuple(ratios), max_ratio, (), before.target, in_turns)


def _judged(ratio: Ratio, limit: float) -> Verdict:
    if ratio.low is None or ratio.high is None:
        return Verdict.NO_DATA
    if ratio.low > limit:
        return Verdict.FAIL
    return Verdict.PASS if ratio.high <= limit else Verdict.INCONCLUSIVE


def _ratios(
    batch: int, pair: tuple[Sequence[Iteration], Sequence[Iteration]], tail: float, rng: np.random.Generator
) -> list[Ratio]:
    rows = [summarised(batch, iterations) for iterations in pair]
    found: list[Ratio] = []
    for metric in METRICS:
        now, before = (getattr(row, metric) for row in rows)
        if not now or not before:
            found.append(Ratio(batch, metric, now, before, None, None, None))
            continue
        low = high = None
        if metric != "p99_ms" or min(row.requests - row.errors for row in rows) >= _ENOUGH_BEYOND / 0.01:
            quotients = _resampled(pair[0], metric, rng) / _resampled(pair[1], metric, rng)
            low, high = (float(bound) for bound in np.nanquantile(quotients, [tail, 1.0 - tail]))
        found.append(Ratio(batch, metric, now, before, now / before, low, high))
    return found


def _resampled(iterations: Sequence[Iteration], metric: str, rng: np.random.Generator) -> FloatArray:
    """Return the figure of every resample of whole batches, `(n_resamples,)`."""
    size = len(iterations)
    if metric == "tokens_per_s":
        drawn = rng.integers(0, size, (_RESAMPLES, size))
        tokens = np.array([sum(timing.tokens or 0 for timing in item.timings) for item in iterations], dtype=np.float64)
        seconds = np.array([item.elapsed_s for item in iterations], dtype=np.float64)
        return np.asarray(tokens[drawn].sum(axis=1) / seconds[drawn].sum(axis=1), dtype=np.float64)
    share = 0.99 if metric == "p99_ms" else 0.5
    values = np.array([[_value(timing, metric) for timing in item.timings] for item in iterations], dtype=np.float64)
    at_once = max(1, _MOST_VALUES_AT_ONCE // values.size)
    parts = [
        _quantiles(values[rng.integers(0, size, (min(at_once, _RESAMPLES - done), size))], share)
        for done in range(0, _RESAMPLES, at_once)
    ]
    return np.concatenate(parts)


def _quantiles(values: FloatArray, share: float) -> FloatArray:
    """Return the nearest-rank quantile of each resample; failed requests are NaN and do not count."""
    ordered = np.sort(values.reshape(len(values), -1), axis=1)
    counts = np.count_nonzero(~np.isnan(ordered), axis=1)
    ranks = np.maximum(np.ceil(share * counts).astype(np.int64) - 1, 0)
    return np.asarray(ordered[np.arange(len(ordered)), ranks], dtype=np.float64)


def _value(timing: Timing, metric: str) -> float:
    value = timing.ttft_ms if metric == "ttft_p50_ms" else timing.total_ms
    return float("nan") if timing.error or value is None else value
