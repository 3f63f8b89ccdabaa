"""Means of clustered values: the standard error that paired tests and threshold gates share.

Cases cut from one source document fail together; treating them as independent blocks 8 % of unchanged releases at a
nominal 5 %. Sums per cluster restore the nominal rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClusteredMean:
    """A mean, its cluster-robust standard error and what they rest on."""

    mean: float
    standard_error: float
    n: int
    n_clusters: int

    def t_margin(self, tail: float) -> float:
        """Return the distance from the mean to a bound that is wrong with probability `tail`.

        Student's t with `n_clusters - 1` degrees of freedom; infinite for one cluster, zero when all values are equal.
        """
        if self.n_clusters == 1:
            return math.inf
        return float(special.stdtrit(self.n_clusters - 1, 1.0 - tail)) * self.standard_error


def finite_values(values: Sequence[float] | FloatArray, clusters: Sequence[str]) -> FloatArray:
    """Return the values as a `(n,)` array after checking that none is missing.

    Raises:
        ValueError: no values, a NaN or infinity, more than one axis, or `clusters` of another length.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        msg = f"values must be a non-empty one-dimensional sequence, got shape {array.shape}"
        raise ValueError(msg)
    if len(clusters) != array.size:
        msg = f"{array.size} values but {len(clusters)} cluster names; give one cluster name per value"
        raise ValueError(msg)
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        msg = f"value {bad[0]} is {array[bad[0]]}; a missing score is an error to report, not a number to average"
        raise ValueError(msg)
    return array


def cluster_sums(values: FloatArray, clusters: Sequence[str]) -> FloatArray:
    """Sum the values of each cluster; `(n_clusters,)`, ordered by cluster name so that row order never matters."""
    position = {name: index for index, name in enumerate(sorted(set(clusters)))}
    codes = np.fromiter((position[name] for name in clusters), dtype=np.intp, count=len(clusters))
    return np.bincount(codes, weights=values, minlength=len(position)).astype(np.float64)


def clustered_mean(values: Sequence[float] | FloatArray, clusters: Sequence[str]) -> ClusteredMean:
    """Compute the mean over cases and its cluster-robust standard error.

    One cluster says nothing about variation between clusters: its standard error is infinite. Values that are all
    equal have a standard error of exactly zero when there are two clusters or more.

    Raises:
        ValueError: no values, a NaN or infinity, or `clusters` of another length.

    Source: Miller 2024, arXiv 2411.00640, clustered standard errors, with the G/(G-1) small-sample factor.
    """
    array = finite_values(values, clusters)
    n, n_clusters = array.size, len(set(clusters))
    # Rounding in the mean of equal numbers would leave a residual of 1e-17 instead of zero.
    all_equal = bool(np.all(array == array[0]))
    mean = float(array[0]) if all_equal else float(array.mean())
    if n_clusters == 1:
        standard_error = math.inf
    elif all_equal:
        standard_error = 0.0
    else:
        residuals = cluster_sums(array - mean, clusters)
        standard_error = math.sqrt(float(residuals @ residuals) * n_clusters / (n_clusters - 1)) / n
    return ClusteredMean(mean=mean, standard_error=standard_error, n=n, n_clusters=n_clusters)
