"""Quantiles of what was observed, with intervals that assume no distribution; load tests judge latencies by them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import bdtr

from shipway.stats.arguments import check_open_share


@dataclass(frozen=True, slots=True)
class Quantile:
    """A nearest-rank quantile and its interval; a bound is None where so few values cannot give one."""

    value: float
    low: float | None
    high: float | None


def quantile_with_interval(ordered: Sequence[float], q: float, confidence: float = 0.95) -> Quantile | None:
    """Return a quantile of values in ascending order, None when there are none.

    The interval lies between two of the values. It holds for independent values of any distribution; requests that
    shared one pause are not independent, and for them it is too narrow.

    Raises:
        ValueError: `q` or `confidence` lies outside (0, 1).

    Source: David and Nagaraja, Order Statistics, 3rd edition, section 7.1.
    """
    n = len(ordered)
    if not n:
        return None
    low, high = interval_ranks(n, q, confidence)
    return Quantile(
        ordered[max(math.ceil(q * n), 1) - 1],
        None if low is None else ordered[low - 1],
        None if high is None else ordered[high - 1],
    )


def quantile_of_known(known: Mapping[float, float], n: int, q: float, confidence: float = 0.95) -> Quantile | None:
    """Return a quantile of `n` values of which only some quantiles are known, by their shares; None without this one.

    The bounds are the nearest known quantiles outside the interval, so that it is never too narrow.

    Raises:
        ValueError: `q` or `confidence` lies outside (0, 1).
    """
    if q not in known or n < 1:
        return None
    low, high = interval_ranks(n, q, confidence)
    ranks = {max(math.ceil(share * n), 1): value for share, value in sorted(known.items(), reverse=True)}
    below = [value for rank, value in ranks.items() if low is not None and rank <= low]
    above = [value for rank, value in ranks.items() if high is not None and rank >= high]
    return Quantile(known[q], max(below, default=None), min(above, default=None))


def interval_ranks(n: int, q: float, confidence: float) -> tuple[int | None, int | None]:
    """Return between which ranks, counted from 1, a quantile of `n` values lies; None: no value bounds it.

    Raises:
        ValueError: `q` or `confidence` lies outside (0, 1).
    """
    check_open_share("q", q)
    check_open_share("confidence", confidence)
    tail = (1.0 - confidence) / 2.0
    low = _smallest_reaching(tail, n, q)
    high = _smallest_reaching(1.0 - tail, n, q) + 1
    return low or None, high if high <= n else None


def values_needed(q: float, confidence: float = 0.95) -> int:
    """Return how many values a quantile needs for an interval with an upper bound.

    Raises:
        ValueError: `q` or `confidence` lies outside (0, 1).
    """
    check_open_share("q", q)
    check_open_share("confidence", confidence)
    n = max(math.floor(math.log((1.0 - confidence) / 2.0) / math.log(q)), 1)
    while _smallest_reaching(1.0 - (1.0 - confidence) / 2.0, n, q) >= n:
        n += 1
    return n


def _smallest_reaching(share: float, n: int, q: float) -> int:
    """Return the smallest k with P(Binomial(n, q) <= k) >= share."""
    below, reached = -1, n
    while reached - below > 1:
        middle = (below + reached) // 2
        if float(bdtr(middle, n, q)) >= share:
            reached = middle
        else:
            below = middle
    return reached
