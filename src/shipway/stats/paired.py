"""The offline gate's test for a drop of the candidate against the baseline on the same cases.

`evals` passes one difference per case (mean over repeats, candidate minus baseline) with the case's source document.
Unpaired tests and "fail on any drop" block 10 % to 100 % of unchanged releases; this keeps its nominal rate.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from shipway.stats.arguments import check_count, check_open_share, check_positive
from shipway.stats.clusters import FloatArray, cluster_sums, clustered_mean, finite_values
from shipway.stats.proportions import zero_failures_upper

Decision = Literal["PASS", "FAIL", "INCONCLUSIVE"]

# 2^16 sign patterns are summed in about a millisecond; beyond that Monte Carlo is cheaper.
EXACT_CLUSTERS = 16
# A drop of the size of the minimum detectable effect goes unseen one time in five, the usual choice.
DEFAULT_BETA = 0.2
# Items of one document: 8.0 % false blocks item by item instead of 4.5 % is a design effect of 1.4 at 5 items.
DEFAULT_CLUSTER_CORRELATION = 0.1
_MONTE_CARLO_CELLS = 2_000_000


@dataclass(frozen=True, slots=True)
class PairedResult:
    """What the paired differences say; positive differences mean that the candidate is better.

    `p_value` is one-sided for a drop. `lower_bound` and `upper_bound` are one-sided at 1 - alpha, `interval` is
    two-sided at 1 - alpha. `minimum_detectable_effect` is the drop seen four times in five (beta 0.2).
    """

    n: int
    n_clusters: int
    alpha: float
    mean_difference: float
    standard_error: float
    p_value: float
    exact: bool
    lower_bound: float
    upper_bound: float
    interval: tuple[float, float]
    minimum_detectable_effect: float

    @property
    def zero_variance(self) -> bool:
        """Whether the clusters did not vary at all, so that the bounds collapse onto the mean."""
        return self.standard_error == 0.0


def paired_test(
    differences: Sequence[float] | FloatArray,
    clusters: Sequence[str],
    *,
    alpha: float,
    seed: int,
    permutations: int = 10_000,
) -> PairedResult:
    """Test paired differences for a drop with a sign-flip permutation over cluster sums.

    Under the null the cluster sums are symmetric about zero. Clusters that sum to zero cannot move the statistic and
    are left out; with `EXACT_CLUSTERS` or fewer of the others all sign patterns are enumerated and the seed is unused.

    Raises:
        ValueError: no differences, a NaN or infinity, `clusters` of another length, or `alpha` outside (0, 1).

    Source: Miller 2024, arXiv 2411.00640 (pairing, clusters); Phipson and Smyth 2010, arXiv 1603.05766 ((1+b)/(B+1)).
    """
    check_open_share("alpha", alpha)
    check_count("permutations", permutations, minimum=1)
    array = finite_values(differences, clusters)
    sums = cluster_sums(array, clusters)
    sums = sums[sums != 0.0]
    exact = sums.size <= EXACT_CLUSTERS
    p_value = _exact_p_value(sums) if exact else _monte_carlo_p_value(sums, seed, permutations)
    estimate = clustered_mean(array, clusters)
    one_sided, two_sided = estimate.t_margin(alpha), estimate.t_margin(alpha / 2.0)
    return PairedResult(
        n=estimate.n,
        n_clusters=estimate.n_clusters,
        alpha=alpha,
        mean_difference=estimate.mean,
        standard_error=estimate.standard_error,
        p_value=p_value,
        exact=exact,
        lower_bound=estimate.mean - one_sided,
        upper_bound=estimate.mean + one_sided,
        interval=(estimate.mean - two_sided, estimate.mean + two_sided),
        minimum_detectable_effect=minimum_detectable(estimate.standard_error, alpha),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for looking at several metrics; compare each result with alpha itself.

    Raises:
        ValueError: a p-value that is NaN or outside [0, 1].

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    for name, value in p_values.items():
        if not 0.0 <= value <= 1.0:
            msg = f"p-value of {name!r} must lie between 0 and 1, got {value!r}"
            raise ValueError(msg)
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def decide_non_regression(result: PairedResult, *, adjusted_p: float, alpha: float, delta: float) -> Decision:
    """Decide a gate: FAIL on a significant drop of `delta` or more, PASS when such a drop is ruled out.

    PASS reads `result.lower_bound`, made with the alpha of the test. When `result.zero_variance`, only a `delta` of at
    least `smallest_visible_delta` makes PASS honest: ten equal cases do not rule out a drop on an eleventh.

    Raises:
        ValueError: `delta` not positive, `adjusted_p` outside [0, 1] or `alpha` outside (0, 1).
    """
    check_open_share("alpha", alpha)
    check_positive("delta", delta)
    if not 0.0 <= adjusted_p <= 1.0:
        msg = f"adjusted_p must lie between 0 and 1, got {adjusted_p!r}"
        raise ValueError(msg)
    if adjusted_p <= alpha and result.mean_difference <= -delta:
        return "FAIL"
    if result.lower_bound > -delta:
        return "PASS"
    return "INCONCLUSIVE"


def n_needed(
    standard_error: float,
    n: int,
    delta: float,
    alpha: float = 0.05,
    beta: float = DEFAULT_BETA,
) -> int | None:
    """Estimate the number of cases at which a drop of `delta` becomes detectable, by SE ~ 1/sqrt(n).

    None when the standard error is infinite: one cluster cannot say; cases from another source document are needed.

    Raises:
        ValueError: a negative or NaN standard error, `n` < 1, `delta` not positive, `alpha` or `beta` outside (0, 1).

    Source: Miller 2024, arXiv 2411.00640, power analysis.
    """
    check_count("n", n, minimum=1)
    check_positive("delta", delta)
    if not standard_error >= 0.0:
        msg = f"standard_error must be zero or more, got {standard_error!r}"
        raise ValueError(msg)
    if math.isinf(standard_error):
        return None
    return max(1, math.ceil(n * (_z_sum(alpha, beta) * standard_error / delta) ** 2))


def minimum_detectable(standard_error: float, alpha: float, beta: float = DEFAULT_BETA) -> float:
    """Compute the drop that a one-sided test at `alpha` misses with probability `beta`.

    Raises:
        ValueError: `alpha` or `beta` outside (0, 1).

    Source: Miller 2024, arXiv 2411.00640, power analysis.
    """
    return _z_sum(alpha, beta) * standard_error


def smallest_visible_delta(
    n_clusters: int,
    n: int,
    sd_diff: float,
    *,
    alpha: float = 0.05,
    cluster_correlation: float = DEFAULT_CLUSTER_CORRELATION,
) -> float:
    """Compute the smallest drop, of scores in [0, 1], that a dataset of this size can see; the gate's default delta.

    It is the minimum detectable effect of `n` cases whose differences have standard deviation `sd_diff`, widened by
    the design effect of equal clusters, and never below what `n_clusters` unchanged clusters leave possible.
    80 cases with `sd_diff` 0.32 see 9 points; 2 points take about 1,500. Infinite for a single cluster.

    Raises:
        ValueError: fewer cases than clusters, a negative `sd_diff`, or a share outside its range.

    Source: Miller 2024, arXiv 2411.00640, power analysis; Kish 1965, design effect 1 + (m - 1) * rho.
    """
    check_count("n_clusters", n_clusters, minimum=1)
    check_count("n", n, minimum=n_clusters)
    if not (0.0 <= cluster_correlation <= 1.0 and math.isfinite(sd_diff) and sd_diff >= 0.0):
        msg = f"need sd_diff >= 0 and a correlation in [0, 1], got {sd_diff!r} and {cluster_correlation!r}"
        raise ValueError(msg)
    if n_clusters == 1:
        return math.inf
    design_effect = 1.0 + (n / n_clusters - 1.0) * cluster_correlation
    detectable = _z_sum(alpha, DEFAULT_BETA) * sd_diff * math.sqrt(design_effect / n)
    return max(detectable, zero_failures_upper(n_clusters, alpha))


def _z_sum(alpha: float, beta: float) -> float:
    check_open_share("alpha", alpha)
    check_open_share("beta", beta)
    return float(special.ndtri(1.0 - alpha) + special.ndtri(1.0 - beta))


def _exact_p_value(sums: FloatArray) -> float:
    flipped = np.zeros(1)
    for value in sums:
        flipped = np.concatenate((flipped - value, flipped + value))
    return float(np.mean(flipped <= _tie_limit(sums)))


def _monte_carlo_p_value(sums: FloatArray, seed: int, permutations: int) -> float:
    rng = np.random.default_rng(seed)
    limit, total = _tie_limit(sums), float(sums.sum())
    rows = max(1, _MONTE_CARLO_CELLS // sums.size)
    as_low = 0
    for start in range(0, permutations, rows):
        kept = rng.integers(0, 2, size=(min(rows, permutations - start), sums.size), dtype=np.int8)
        as_low += int(np.count_nonzero(2.0 * (kept @ sums) - total <= limit))
    return (1 + as_low) / (permutations + 1)


def _tie_limit(sums: FloatArray) -> float:
    # The same patterns summed in another order differ by rounding; a tie with the observed sum must count.
    return float(sums.sum() + 1e-12 * np.abs(sums).sum())
