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


def cases_needed(sample: Sample, metric: Metric, limit: float, alpha: float) -> int | None:
    """Estimate the cases at which an unchanged mean would put its bound beyond the limit; None when none would.

    Exact for proportions; for means by margin ~ 1/sqrt(n).
    """
    estimate = clustered_mean(sample.values, sample.clusters)
    gap = metric.sign * (estimate.mean - limit)
    if gap <= 0:
        return None
    if metric.kind == "proportion":
        return (
            n_for_share(estimate.mean, limit, alpha)
            if metric.sign > 0
            else (n_for_share(1.0 - estimate.mean, 1.0 - limit, alpha))
        )
    margin = estimate.t_margin(alpha)
    return math.ceil(estimate.n * (margin / gap) ** 2) if 0.0 < margin < math.inf else None


def n_for_share(share: float, limit: float, alpha: float) -> int | None:
    """Find the cases at which an unchanged share would have its lower bound at the limit; None when none would."""
    if not 0.0 <= limit <= 1.0:
        return None
    return n_for_lower_bound(min(1.0, max(0.0, share)), limit, alpha)


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
