"""Comparing many variants with one another on the same cases; `evals.matrix` calls this.

Whoever takes the highest of twenty means for the best is fooled: of twenty equal variants one is always highest. Here a
difference counts only when it is larger than the largest of all differences would be by luck, and what the highest
one is worth is read off cases that had no part in its choice.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shipway.stats.arguments import check_count, check_open_share
from shipway.stats.clusters import FloatArray, cluster_sums
from shipway.stats.paired import EXACT_CLUSTERS

_CELLS = 2_000_000
# The same flips summed in another order differ by rounding; a tie with what was observed must count.
_TIE = 1e-9
_Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


@dataclass(frozen=True, slots=True)
class AllPairs:
    """Every variant against every other; all matrices are (variants, variants), row minus column.

    `p_values` are two-sided and adjusted for all pairs. `margins` are half the widths of intervals that hold for all
    pairs together with probability 1 - alpha; infinite where so few clusters say nothing. With clusters of equal size
    an interval leaves out zero exactly when the p-value is at most alpha.
    """

    n: int
    n_clusters: int
    alpha: float
    exact: bool
    differences: FloatArray
    p_values: FloatArray
    margins: FloatArray

    @property
    def n_pairs(self) -> int:
        """The number of comparisons that were paid for."""
        variants = len(self.differences)
        return variants * (variants - 1) // 2


def compare_all(
    scores: FloatArray, clusters: Sequence[str], *, alpha: float, seed: int, permutations: int = 10_000
) -> AllPairs:
    """Compare the columns of `(n_cases, n_variants)` scores pairwise, with the choice among all pairs paid for.

    The signs of whole clusters are flipped, the same for all pairs, and each pair's sum is divided by the root of its
    sum of squares, which flips do not change; the largest of all of them is what each observed one is compared with.
    A pair's own distribution does not depend on how the other variants differ, so the error rate holds whichever of
    them are equal. With `EXACT_CLUSTERS` clusters or fewer that differ all patterns are enumerated.

    Raises:
        ValueError: not two axes, a NaN or infinity, or `clusters` of another length.

    Source: Westfall and Young 1993, Resampling-Based Multiple Testing (single-step max-T); Phipson and Smyth 2010,
    arXiv 1603.05766; Miller 2024, arXiv 2411.00640 (pairing, clusters).
    """
    check_open_share("alpha", alpha)
    check_count("permutations", permutations, minimum=1)
    sums = _sums(scores, clusters)
    n, n_variants = scores.shape
    rows, columns = np.triu_indices(n_variants, k=1)
    totals, norms = _pair_sums(sums, (rows, columns))
    observed = np.divide(np.abs(totals), norms, out=np.zeros_like(totals), where=norms > 0.0)
    differing = sums[np.ptp(sums, axis=1) > 0.0]
    exact = len(differing) <= EXACT_CLUSTERS
    largest = _largest(differing, (rows, columns), norms, None if exact else (seed, permutations))
    added = 0 if exact else 1
    as_large = len(largest) - np.searchsorted(largest, observed - _TIE, side="left")
    p_values = np.minimum(1.0, (as_large + added) / (len(largest) + added))
    critical = _critical(largest, alpha, added)
    return AllPairs(
        n=n,
        n_clusters=len(sums),
        alpha=alpha,
        exact=exact,
        differences=_square(totals / n, n_variants, sign=-1.0),
        p_values=_square(p_values, n_variants, diagonal=1.0),
        margins=_square(_margins(totals, norms, critical, len(sums)) / n, n_variants),
    )


def chosen_on_other_half(scores: FloatArray, clusters: Sequence[str], *, seed: int, splits: int = 200) -> float | None:
    """Return the mean score, on one half of the clusters, of the variant that is highest on the other half.

    The mean over many random halves, each used both ways. It is what choosing by these cases is worth on new ones, if
    anything a little low, because half the cases choose. None with fewer than two clusters.

    Raises:
        ValueError: not two axes, a NaN or infinity, or `clusters` of another length.

    Source: cross-validated selection; Varma and Simon 2006, BMC Bioinformatics 7:91.
    """
    check_count("splits", splits, minimum=1)
    sums = _sums(scores, clusters)
    if len(sums) < 2:  # noqa: PLR2004 - two halves
        return None
    counts = cluster_sums(np.ones(len(scores)), clusters)
    rng = np.random.default_rng(seed)
    halves = np.zeros((splits, len(sums)))
    for row in halves:
        row[rng.permutation(len(sums))[: len(sums) // 2]] = 1.0
    chosen: list[FloatArray] = []
    for choosing, judging in ((halves, 1.0 - halves), (1.0 - halves, halves)):
        best = ((choosing @ sums) / (choosing @ counts)[:, None]).argmax(axis=1)
        means = (judging @ sums) / (judging @ counts)[:, None]
        chosen.append(means[np.arange(splits), best])
    return float(np.mean(chosen))


def _sums(scores: FloatArray, clusters: Sequence[str]) -> FloatArray:
    """Return the cluster sums, (n_clusters, n_variants)."""
    if scores.ndim != 2 or scores.size == 0:  # noqa: PLR2004 - cases and variants
        msg = f"scores must be (cases, variants), got shape {scores.shape}"
        raise ValueError(msg)
    if len(clusters) != len(scores):
        msg = f"{len(scores)} cases but {len(clusters)} cluster names; give one cluster name per case"
        raise ValueError(msg)
    if not np.isfinite(scores).all():
        case, variant = np.argwhere(~np.isfinite(scores))[0]
        msg = f"variant {variant} has no score of case {case}; leave out cases that not all variants have"
        raise ValueError(msg)
    return np.stack([cluster_sums(column, clusters) for column in scores.T], axis=1)


def _pair_sums(sums: FloatArray, pairs: _Pairs) -> tuple[FloatArray, FloatArray]:
    """Return each pair's sum over the clusters and the root of its sum of squares."""
    totals, norms = np.empty(len(pairs[0])), np.empty(len(pairs[0]))
    for place, (one, other) in enumerate(zip(*pairs, strict=True)):
        gaps = sums[:, one] - sums[:, other]
        totals[place], norms[place] = gaps.sum(), math.sqrt(float(gaps @ gaps))
    return totals, norms


def _largest(sums: FloatArray, pairs: _Pairs, norms: FloatArray, drawn: tuple[int, int] | None) -> FloatArray:
    """Return the largest pair of each pattern of signs, ascending: of `drawn` (seed, number), or of all patterns."""
    left, right = (side[norms > 0.0] for side in pairs)
    if not left.size:
        return np.zeros(1)
    # What all variants of a cluster share would only cost digits.
    centred, kept = sums - sums.mean(axis=1, keepdims=True), norms[norms > 0.0]
    rows = max(1, _CELLS // max(left.size, len(sums)))
    found: list[FloatArray] = []
    for signs in _patterns(len(sums), rows, drawn):
        flipped = signs @ centred
        found.append((np.abs(flipped[:, left] - flipped[:, right]) / kept).max(axis=1))
    return np.sort(np.concatenate(found))


def _patterns(n_clusters: int, rows: int, drawn: tuple[int, int] | None) -> Iterator[FloatArray]:
    if drawn is not None:
        seed, number = drawn
        rng = np.random.default_rng(seed)
        for start in range(0, number, rows):
            kept = rng.integers(0, 2, size=(min(rows, number - start), n_clusters), dtype=np.int8)
            yield 1.0 - 2.0 * kept.astype(np.float64)
        return
    # The opposite of a pattern has the same largest pair, so the first sign stays.
    for start in range(0, 2 ** (n_clusters - 1), rows):
        numbers = np.arange(start, min(start + rows, 2 ** (n_clusters - 1)))
        bits = (numbers[:, None] >> np.arange(n_clusters - 1)) & 1
        signs = np.ones((len(numbers), n_clusters))
        signs[:, 1:] -= 2.0 * bits
        yield signs


def _critical(largest: FloatArray, alpha: float, added: int) -> float:
    """Return what a pair must exceed to have an adjusted p-value of at most alpha."""
    allowed = math.floor(alpha * (len(largest) + added) + _TIE) - added
    return math.inf if allowed < 0 else float(largest[len(largest) - 1 - allowed])


def _margins(totals: FloatArray, norms: FloatArray, critical: float, n_clusters: int) -> FloatArray:
    """Return half the widths of the intervals around the pairs' sums, by Student's form of the same statistic."""
    if n_clusters == 1 or critical**2 >= n_clusters - _TIE:
        return np.full(len(totals), math.inf)
    student = critical * math.sqrt((n_clusters - 1) / (n_clusters - critical**2))
    spread = n_clusters * norms**2 - totals**2
    # Clusters that all differ by the same have no spread but for rounding.
    variances = np.where(spread > _TIE * n_clusters * norms**2, spread, 0.0) / (n_clusters - 1)
    return student * np.sqrt(variances)


def _square(values: FloatArray, size: int, *, sign: float = 1.0, diagonal: float = 0.0) -> FloatArray:
    found = np.full((size, size), diagonal)
    rows, columns = np.triu_indices(size, k=1)
    found[rows, columns], found[columns, rows] = values, sign * values
    return found
