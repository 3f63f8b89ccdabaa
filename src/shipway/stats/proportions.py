"""Confidence bounds for pass rates and mean scores, and the sample sizes that would decide.

Called by threshold gates (a bound is compared, never the point estimate), zero-tolerance gates and reports.
"""

import math
from collections.abc import Sequence

from scipy import special

from shipway.stats.arguments import check_count, check_open_share
from shipway.stats.clusters import FloatArray, clustered_mean

# Beyond this many cases "collect more" is no advice; the search for a sample size ends here.
MAX_CASES = 10_000_000
# 0.29 * 100 is 28.999999999999996; a rate that was itself a ratio of counts stays whole.
_WHOLE_SLACK = 1e-9


def clopper_pearson_lower(successes: int, n: int, alpha: float) -> float:
    """Compute the exact one-sided lower bound of a rate, too high with probability at most `alpha`.

    Raises:
        ValueError: counts that cannot be, or `alpha` outside (0, 1).

    Source: Clopper and Pearson 1934, Biometrika 26(4), as a quantile of Beta(successes, n - successes + 1).
    """
    _check_counts(successes, n)
    check_open_share("alpha", alpha)
    return _real_lower(float(successes), n, alpha)


def clopper_pearson_upper(successes: int, n: int, alpha: float) -> float:
    """Compute the exact one-sided upper bound of a rate, too low with probability at most `alpha`.

    Raises:
        ValueError: counts that cannot be, or `alpha` outside (0, 1).

    Source: Clopper and Pearson 1934, Biometrika 26(4).
    """
    _check_counts(successes, n)
    return 1.0 - clopper_pearson_lower(n - successes, n, alpha)


def wilson_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Compute the two-sided score interval of a rate: for display, where exactness costs more width than it is worth.

    Raises:
        ValueError: counts that cannot be, or `confidence` outside (0, 1).

    Source: Wilson 1927, JASA 22(158).
    """
    _check_counts(successes, n)
    check_open_share("confidence", confidence)
    z = float(special.ndtri(0.5 + confidence / 2.0))
    rate = successes / n
    spread = 1.0 + z * z / n
    centre = (rate + z * z / (2 * n)) / spread
    half_width = z * math.sqrt(rate * (1.0 - rate) / n + z * z / (4 * n * n)) / spread
    # At the ends the formula equals the rate itself but for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half_width)
    high = 1.0 if successes == n else min(1.0, centre + half_width)
    return low, high


def zero_failures_upper(n: int, alpha: float) -> float:
    """Compute the upper bound of a failure rate after `n` attempts without a failure: 1 - alpha^(1/n).

    Raises:
        ValueError: `n` < 1 or `alpha` outside (0, 1).

    Source: Clopper and Pearson 1934 at zero successes; the "rule of three" is its first-order form.
    """
    check_count("n", n, minimum=1)
    check_open_share("alpha", alpha)
    return -math.expm1(math.log(alpha) / n)


def n_for_zero_failures(rate: float, alpha: float) -> int:
    """Count the clean attempts that prove a failure rate of at most `rate`; 299 for 1 % at `alpha` 0.05.

    Raises:
        ValueError: `rate` or `alpha` outside (0, 1).
    """
    check_open_share("rate", rate)
    check_open_share("alpha", alpha)
    n = max(1, math.ceil(math.log(alpha) / math.log1p(-rate)))
    # The quotient of two logarithms may land one off either way when it is a whole number.
    if n > 1 and zero_failures_upper(n - 1, alpha) <= rate:
        return n - 1
    return n if zero_failures_upper(n, alpha) <= rate else n + 1


def n_for_lower_bound(p_hat: float, threshold: float, alpha: float, *, beyond: int = 0) -> int | None:
    """Find the fewest cases, more than `beyond`, at which an unchanged observed rate puts its bound at the threshold.

    The successes at n cases are floor(p_hat * n). None when `p_hat` does not exceed the threshold (no number of
    cases can help) or when more than `MAX_CASES` would be needed.

    Raises:
        ValueError: `p_hat` or `threshold` outside [0, 1], or `alpha` outside (0, 1).
    """
    check_open_share("alpha", alpha)
    for name, value in (("p_hat", p_hat), ("threshold", threshold)):
        if not 0.0 <= value <= 1.0:
            msg = f"{name} must lie between 0 and 1, got {value!r}"
            raise ValueError(msg)
    if p_hat <= threshold:
        return None
    if _smooth_lower(p_hat, MAX_CASES, alpha) < threshold:
        return None
    low, high = 0, 1
    while _smooth_lower(p_hat, high, alpha) < threshold:
        low, high = high, min(2 * high, MAX_CASES)
    while high - low > 1:
        middle = (low + high) // 2
        if _smooth_lower(p_hat, middle, alpha) < threshold:
            low = middle
        else:
            high = middle
    return _first_tooth(p_hat, threshold, alpha, max(high, beyond + 1))


def mean_lower_bound(values: Sequence[float] | FloatArray, clusters: Sequence[str], alpha: float) -> float:
    """Compute the one-sided lower bound of a mean score over clustered cases.

    Minus infinity for a single cluster. Equal values in several clusters give the value itself: where the scores are
    pass or fail, use `clopper_pearson_lower`, which stays honest there.

    Raises:
        ValueError: no values, a NaN or infinity, `clusters` of another length, or `alpha` outside (0, 1).

    Source: Miller 2024, arXiv 2411.00640; t quantile with (clusters - 1) degrees of freedom.
    """
    check_open_share("alpha", alpha)
    estimate = clustered_mean(values, clusters)
    return estimate.mean - estimate.t_margin(alpha)


def mean_upper_bound(values: Sequence[float] | FloatArray, clusters: Sequence[str], alpha: float) -> float:
    """Compute the one-sided upper bound of a mean over clustered cases; see `mean_lower_bound`.

    Raises:
        ValueError: no values, a NaN or infinity, `clusters` of another length, or `alpha` outside (0, 1).

    Source: Miller 2024, arXiv 2411.00640; t quantile with (clusters - 1) degrees of freedom.
    """
    check_open_share("alpha", alpha)
    estimate = clustered_mean(values, clusters)
    return estimate.mean + estimate.t_margin(alpha)


def _real_lower(successes: float, n: int, alpha: float) -> float:
    if successes <= 0.0:
        return 0.0
    return float(special.betaincinv(successes, n - successes + 1.0, alpha))


def _smooth_lower(rate: float, n: int, alpha: float) -> float:
    return _real_lower(min(float(n), rate * n + _WHOLE_SLACK), n, alpha)


def _first_tooth(p_hat: float, threshold: float, alpha: float, n: int) -> int | None:
    # Whole successes make the bound a sawtooth below the smooth curve, highest where one more success has just
    # arrived: only those points need a look.
    while n <= MAX_CASES:
        successes = _whole_successes(p_hat, n)
        if _real_lower(successes, n, alpha) >= threshold:
            return n
        n = max(n + 1, math.ceil((successes + 1.0 - _WHOLE_SLACK) / p_hat))
    return None


def _whole_successes(rate: float, n: int) -> float:
    return float(min(n, math.floor(rate * n + _WHOLE_SLACK)))


def _check_counts(successes: int, n: int) -> None:
    check_count("n", n, minimum=1)
    if not 0 <= successes <= n:
        msg = f"successes must lie between 0 and n={n}, got {successes!r}"
        raise ValueError(msg)
