"""One-sided confidence bounds of a metric over cases, and the cases that would decide; threshold gates call this.

Proportions: Clopper-Pearson over cases. With repeats a case mean may lie between 0 and 1; the sum is rounded against
the release on either side (down for the lower bound, up for the upper one), so K repeats never count as K cases. The
cluster-robust form replaces n by the effective sample size p(1-p)/SE², SE clustered, at most n; when all cases agree it
is the number of clusters.

Means: Student's t over clusters. Bounded means whose cases are all equal have no variance to learn from and use
Clopper-Pearson; no bounded mean is surer than n cases that are all right or all wrong.
"""

import math
from dataclasses import dataclass

from shipway.evals.metrics import Metric
from shipway.evals.sample import Sample
from shipway.stats.clusters import ClusteredMean, clustered_mean
from shipway.stats.proportions import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    n_for_lower_bound,
    n_for_zero_failures,
    zero_failures_upper,
)

# A sum of case means that is whole but for rounding is whole.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Bounds:
    """A mean with its one-sided lower and upper bounds, each wrong with probability at most alpha."""

    value: float
    lower: float
    upper: float


def bounds_of(sample: Sample, metric: Metric, alpha: float, *, cluster_robust: bool = False) -> Bounds:
    """Compute the bounds of a metric over a sample of at least one case.

    Source: Clopper and Pearson 1934; Korn and Graubard 1998, Survey Methodology 24(2) (effective sample size); Miller
    2024, arXiv 2411.00640 (clustered t).
    """
    estimate = clustered_mean(sample.values, sample.clusters)
    equal = min(sample.values) == max(sample.values)
    if metric.kind == "proportion" or (metric.bounded and equal):
        plain = _proportion(estimate.mean, sample.n, alpha)
        if not cluster_robust:
            return plain
        robust = _proportion(estimate.mean, _effective_n(estimate), alpha)
        # Rounding to whole successes of a smaller n may by luck narrow a bound; clusters are no reason to be surer.
        return Bounds(plain.value, min(plain.lower, robust.lower), max(plain.upper, robust.upper))
    margin = estimate.t_margin(alpha)
    lower, upper = estimate.mean - margin, estimate.mean + margin
    if metric.bounded:
        # Nearly equal scores are no surer than equal ones.
        surest = zero_failures_upper(sample.n, alpha)
        lower, upper = max(0.0, min(lower, 1.0 - surest)), min(1.0, max(upper, surest))
    return Bounds(estimate.mean, lower, upper)


def share_bounds(hits: int, n: int, alpha: float) -> Bounds:
    """Compute the bounds of a share of cases."""
    return _proportion(hits / n, n, alpha)


def cases_needed(
    sample: Sample, metric: Metric, limit: float, alpha: float, *, cluster_robust: bool = False
) -> int | None:
    """Estimate the cases at which an unchanged mean would be beyond the limit for sure, on whichever side it is.

    None when no number of cases decides: the mean is the limit, or one cluster alone says nothing about variation.
    More than the sample has, except that `cluster_robust` asks for other clusters and not for more cases.

    Exact for proportions; for means by margin ~ 1/sqrt(n), and no fewer than equal scores take.
    """
    estimate = clustered_mean(sample.values, sample.clusters)
    if metric.kind == "proportion" or (metric.bounded and min(sample.values) == max(sample.values)):
        return n_for_share(estimate.mean, limit, alpha, beyond=0 if cluster_robust else sample.n)
    gap, margin = abs(estimate.mean - limit), estimate.t_margin(alpha)
    if gap == 0.0 or not math.isfinite(margin):
        return None
    needed = math.ceil(estimate.n * (margin / gap) ** 2)
    if metric.bounded:
        # The share that as many equal scores would have to show.
        share = limit if estimate.mean < limit else 1.0 - limit
        needed = max(needed, n_for_zero_failures(share, alpha)) if 0.0 < share < 1.0 else needed
    return max(needed, estimate.n + 1)


def n_for_share(share: float, limit: float, alpha: float, *, beyond: int = 0) -> int | None:
    """Find the cases, more than `beyond`, at which an unchanged share is above or below the limit for sure."""
    if not 0.0 <= limit <= 1.0:
        return None
    share = min(1.0, max(0.0, share))
    if share < limit:
        share, limit = 1.0 - share, 1.0 - limit
    return n_for_lower_bound(share, limit, alpha, beyond=beyond)


def _effective_n(estimate: ClusteredMean) -> int:
    if estimate.n_clusters == 1:
        return 1
    if estimate.standard_error == 0.0 or not 0.0 < estimate.mean < 1.0:
        return estimate.n_clusters
    effective = estimate.mean * (1.0 - estimate.mean) / estimate.standard_error**2
    return max(1, min(estimate.n, math.floor(effective + _SLACK)))


def _proportion(mean: float, n: int, alpha: float) -> Bounds:
    fewest = max(0, math.floor(mean * n + _SLACK))
    most = min(n, math.ceil(mean * n - _SLACK))
    return Bounds(mean, clopper_pearson_lower(fewest, n, alpha), clopper_pearson_upper(most, n, alpha))
