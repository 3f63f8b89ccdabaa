"""Whether two samples differ more than chance explains: numbers, categories and vectors.

The dataset check compares two versions with these; the caller corrects for asking several questions (`paired.holm`).
Every p-value is (1 + draws at least as extreme) / (1 + draws) over random divisions of the pooled sample: it is exact
at every size; the false-alarm rate over equal splits is measured in the tests. Observations count as independent of one
another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shipway.stats.arguments import check_count

FloatArray = npt.NDArray[np.float64]

_WIDTH_FROM = 500
_AT_ONCE = 256
_ROUNDING = 1e-9


def number_shift(
    before: Sequence[float] | FloatArray,
    after: Sequence[float] | FloatArray,
    *,
    rng: np.random.Generator,
    draws: int = 999,
) -> float:
    """Return the p-value of the two-sample Kolmogorov-Smirnov distance, whatever the ties.

    Raises:
        ValueError: an empty sample.
    """
    table = _Table.of(np.asarray(before, np.float64), np.asarray(after, np.float64))
    observed, drawn = table.tables(rng, draws)

    def distance(first: FloatArray) -> FloatArray:
        gaps = first.cumsum(axis=1) / table.n - (table.totals - first).cumsum(axis=1) / table.rest
        largest: FloatArray = np.abs(gaps).max(axis=1)
        return largest

    return _share(distance(drawn), float(distance(observed)[0]))


def category_shift(
    before: Sequence[str] | npt.NDArray[np.str_],
    after: Sequence[str] | npt.NDArray[np.str_],
    *,
    rng: np.random.Generator,
    draws: int = 999,
) -> float:
    """Return the p-value of the chi-squared statistic; rare categories need no minimum.

    Raises:
        ValueError: an empty sample.
    """
    table = _Table.of(np.asarray(before, str), np.asarray(after, str))
    observed, drawn = table.tables(rng, draws)
    # The second row follows from the first, so the statistic is a function of the first alone.
    expected = table.totals * table.n / (table.n + table.rest)
    scale = expected * table.rest / (table.n + table.rest)
    others = (((drawn - expected) ** 2) / scale).sum(axis=1)
    return _share(others, float((((observed - expected) ** 2) / scale).sum()))


def vector_shift(
    before: FloatArray,
    after: FloatArray,
    *,
    rng: np.random.Generator,
    permutations: int = 999,
    features: int = 256,
) -> float:
    """Return the permutation p-value of the maximum mean discrepancy under a Gaussian kernel; rows are observations.

    The kernel is approximated by random Fourier features and as wide as the median distance of the pooled sample;
    neither knows which row is whose, so the permutation test stays exact. Source: Gretton et al. 2012; Rahimi and
    Recht 2007.

    Raises:
        ValueError: an empty sample, or vectors of different lengths.
    """
    _check_sizes(len(before), len(after))
    if before.shape[1] != after.shape[1]:
        raise ValueError(f"the samples have {before.shape[1]} and {after.shape[1]} dimensions")
    pooled = np.concatenate([before, after]).astype(np.float64)
    width = _median_distance(pooled, rng)
    if width <= _ROUNDING:
        return 1.0
    angles = pooled @ (rng.normal(size=(pooled.shape[1], features)) / width)
    mapped = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) / np.sqrt(features)
    n, total = len(before), len(pooled)
    first = np.zeros(total)
    first[:n] = 1.0
    statistic = float(_discrepancies(mapped, first[None, :], n)[0])
    others = [
        _discrepancies(mapped, rng.permuted(np.tile(first, (min(_AT_ONCE, permutations - start), 1)), axis=1), n)
        for start in range(0, permutations, _AT_ONCE)
    ]
    return _share(np.concatenate(others), statistic)


@dataclass(frozen=True, slots=True)
class _Table:
    """How often each distinct value occurs in both samples together and in the first one."""

    totals: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    n: int
    rest: int

    @classmethod
    def of(cls, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> "_Table":
        n, rest = len(before), len(after)
        _check_sizes(n, rest)
        names, places = np.unique(np.concatenate([before, after]), return_inverse=True)
        totals = np.bincount(places, minlength=len(names))
        return cls(totals, np.bincount(places[:n], minlength=len(names)), n, rest)

    def tables(self, rng: np.random.Generator, draws: int) -> tuple[FloatArray, FloatArray]:
        """Return the first row as it is, (1, values), and as random divisions make it, (draws, values)."""
        drawn = rng.multivariate_hypergeometric(self.totals, self.n, size=draws, method="marginals")
        return self.first[None, :].astype(np.float64), drawn.astype(np.float64)


def _discrepancies(mapped: FloatArray, members: FloatArray, n: int) -> FloatArray:
    """Return the squared distance of the two mean features for each row of `members` (1: of the first sample)."""
    rest = len(mapped) - n
    sums = members @ mapped
    difference = sums / n - (mapped.sum(axis=0) - sums) / rest
    found: FloatArray = (difference**2).sum(axis=1)
    return found


def _median_distance(pooled: FloatArray, rng: np.random.Generator) -> float:
    shown = pooled if len(pooled) <= _WIDTH_FROM else pooled[rng.choice(len(pooled), _WIDTH_FROM, replace=False)]
    squares = (shown**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * (shown @ shown.T)
    between = distances[np.triu_indices(len(shown), 1)]
    return float(np.sqrt(max(0.0, float(np.median(between))))) if len(between) else 0.0


def _share(others: FloatArray, statistic: float) -> float:
    return float((1 + np.count_nonzero(others >= statistic - _ROUNDING)) / (1 + len(others)))


def _check_sizes(n: int, m: int) -> None:
    check_count("the number of observations before", n, minimum=1)
    check_count("the number of observations after", m, minimum=1)
