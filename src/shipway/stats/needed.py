"""How many cases or repeats would decide what a paired test left open; non-regression gates call this.

The variance of a case's difference has two parts: cases differ (only more cases help), and repeats of one case differ
(more repeats help too).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from shipway.stats.arguments import check_count, check_open_share, check_positive
from shipway.stats.clusters import ClusteredMean, FloatArray
from shipway.stats.proportions import MAX_CASES

MOST_REPEATS = 100
"""Beyond this many repeats a case "ask again" is no advice."""
# A gap this small against the margin is rounding: no sample of any size tells the mean from the limit.
_NO_GAP = 1e-9
_LEAST_DESIGN_EFFECT = 1e-9


@dataclass(frozen=True, slots=True)
class VarianceParts:
    """Variance of the differences between cases, and between the repeats of one case.

    `repeats` is the mean number of repeats that the cases have; `within` is None when no case has two.
    """

    between: float
    within: float | None
    repeats: float

    def of_mean(self, repeats: int) -> float:
        """Return the variance of a case's mean difference with so many repeats."""
        return self.between + (self.within or 0.0) / repeats


def variance_parts(differences: FloatArray) -> VarianceParts:
    """Split the variance of paired differences; `(n_cases, repeats)` with NaN where a repeat is missing.

    Raises:
        ValueError: not two axes, or a case without any difference.

    Source: one-way random effects by moments; Searle, Casella and McCulloch 1992, Variance Components, 3.
    """
    if differences.ndim != 2 or differences.size == 0:  # noqa: PLR2004 - cases and repeats
        msg = f"differences must be (cases, repeats), got shape {differences.shape}"
        raise ValueError(msg)
    there = np.isfinite(differences)
    counts = there.sum(axis=1)
    if not counts.all():
        msg = f"case {int(np.argmin(counts))} has no difference; leave it out"
        raise ValueError(msg)
    filled = np.where(there, differences, 0.0)
    means = filled.sum(axis=1) / counts
    spread = float(np.var(means, ddof=1)) if means.size > 1 else 0.0
    several = counts > 1
    repeats = float(counts.size / np.sum(1.0 / counts))
    if not several.any():
        return VarianceParts(spread, None, repeats)
    squares = np.where(there, (differences - means[:, None]) ** 2, 0.0).sum(axis=1)
    within = float(np.mean(squares[several] / (counts[several] - 1)))
    return VarianceParts(max(0.0, spread - within / repeats), within, repeats)


def design_effect(estimate: ClusteredMean, variance: float) -> float:
    """Compute by how much clusters widen the variance of the mean; 1 when the values do not vary.

    Source: Kish 1965, Survey Sampling, 8.2.
    """
    if variance <= 0.0 or not math.isfinite(estimate.standard_error):
        return 1.0
    return max(_LEAST_DESIGN_EFFECT, estimate.standard_error**2 * estimate.n / variance)


def cases_for_gap(standard_error: float, n: int, gap: float, alpha: float) -> int | None:
    """Count the cases at which an unchanged mean would be `gap` away from its limit for sure, by SE ~ 1/sqrt(n).

    More than `n`: so many did not decide. None when no number of cases does: no gap, no variance estimate, or more
    than `MAX_CASES`.

    Raises:
        ValueError: `n` < 1 or `alpha` outside (0, 1).

    Source: Miller 2024, arXiv 2411.00640, power analysis without the power term: the effect is taken as it is.
    """
    check_count("n", n, minimum=1)
    check_open_share("alpha", alpha)
    if gap <= _NO_GAP or not math.isfinite(standard_error):
        return None
    needed = n * (float(special.ndtri(1.0 - alpha)) * standard_error / gap) ** 2
    return max(n + 1, math.ceil(needed)) if needed <= MAX_CASES else None


def repeats_for_gap(parts: VarianceParts, design: float, n: int, gap: float, alpha: float) -> int | None:
    """Find the fewest repeats a case, of `n` cases, at which an unchanged mean would be `gap` away from its limit.

    More than the cases have. None when the variance within cases is unknown, or the variance between them alone is too
    large, or more than `MOST_REPEATS` would be needed.

    Raises:
        ValueError: `n` < 1, `design` not positive or `alpha` outside (0, 1).
    """
    check_count("n", n, minimum=1)
    check_positive("design", design)
    check_open_share("alpha", alpha)
    if parts.within is None or gap <= _NO_GAP:
        return None
    largest = n / design * (gap / float(special.ndtri(1.0 - alpha))) ** 2
    if largest <= parts.between or parts.within <= 0.0:
        return None
    needed = math.ceil(parts.within / (largest - parts.between) - _NO_GAP)
    repeats = max(math.floor(parts.repeats) + 1, needed)
    return repeats if repeats <= MOST_REPEATS else None
