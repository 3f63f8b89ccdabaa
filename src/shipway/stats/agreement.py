"""How far a judge agrees with people, what its rate is worth, and whether it has changed.

`evals/calibration` calls this for every judge. "Positive" is the label 1; people are the truth that the judge is
held to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from shipway.stats.arguments import check_count, check_open_share

_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of labels by people (first word: is the judge right?) and by the judge (second word: what it said)."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def n(self) -> int:
        """How many labels there are."""
        return self.positives + self.negatives

    @property
    def positives(self) -> int:
        """How many people called 1."""
        return self.true_positive + self.false_negative

    @property
    def negatives(self) -> int:
        """How many people called 0."""
        return self.false_positive + self.true_negative

    @property
    def sensitivity(self) -> float | None:
        """The share of people's 1 that the judge called 1 (q1); None without any."""
        return self.true_positive / self.positives if self.positives else None

    @property
    def specificity(self) -> float | None:
        """The share of people's 0 that the judge called 0 (q0); None without any."""
        return self.true_negative / self.negatives if self.negatives else None


@dataclass(frozen=True, slots=True)
class CorrectedRate:
    """A judged rate, freed of the judge's known errors.

    `rate` lies in [0, 1]; `clipped` says that the formula gave something outside. `variance` is that of the formula.
    """

    rate: float
    variance: float
    clipped: bool

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Compute the two-sided normal interval, cut to [0, 1]."""
        check_open_share("confidence", confidence)
        half_width = float(special.ndtri(0.5 + confidence / 2.0)) * math.sqrt(self.variance)
        return max(0.0, self.rate - half_width), min(1.0, self.rate + half_width)


def confusion(people: Sequence[bool], judge: Sequence[bool]) -> Confusion:
    """Count the four outcomes.

    Raises:
        ValueError: no labels, or not as many of one as of the other.
    """
    if len(people) != len(judge) or not people:
        msg = f"labels must come in pairs, got {len(people)} by people and {len(judge)} by the judge"
        raise ValueError(msg)
    pairs = list(zip(people, judge, strict=True))
    return Confusion(*(pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))


def cohen_kappa(counts: Confusion) -> float | None:
    """Compute agreement beyond chance; None where chance alone makes it perfect, which is never read as 1.

    Source: Cohen 1960, Educational and Psychological Measurement 20(1).
    """
    found = float(_kappas(np.array([_row(counts)], np.float64))[0])
    return None if math.isnan(found) else found


def kappa_interval(
    people: Sequence[bool], judge: Sequence[bool], clusters: Sequence[str], *, seed: int, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Compute the percentile bootstrap interval of kappa; whole clusters are drawn, for they vary together.

    None for a single cluster, or when kappa is undefined in the data or in most draws.

    Raises:
        ValueError: lengths that differ, or `confidence` outside (0, 1).

    Source: Efron 1979, Annals of Statistics 7(1); clusters as in Field and Welsh 2007, JRSS B 69(3).
    """
    check_open_share("confidence", confidence)
    if not len(people) == len(judge) == len(clusters):
        msg = f"got {len(people)} labels by people, {len(judge)} by the judge and {len(clusters)} clusters"
        raise ValueError(msg)
    names = sorted(set(clusters))
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), 4))
    for cluster, truth, said in zip(clusters, people, judge, strict=True):
        counts[places[cluster], 2 * (not truth) + (not said)] += 1
    if len(names) < 2 or math.isnan(_kappas(counts.sum(axis=0, keepdims=True))[0]):  # noqa: PLR2004 - one varies not
        return None
    rng = np.random.Generator(np.random.Philox(seed))
    drawn = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=_DRAWS) @ counts
    kappas = _kappas(drawn)
    defined = kappas[~np.isnan(kappas)]
    if defined.size < _DRAWS / 2:
        return None
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def corrected_rate(rate: float, counts: Confusion, n: int) -> CorrectedRate:
    """Estimate the true rate behind a judged one: theta = (p + q0 - 1) / (q0 + q1 - 1).

    `n` counts the judged answers of which the share `rate` was called 1. The variance holds the sampling error of the
    rate and of both error rates of the judge.

    Raises:
        ValueError: a rate outside [0, 1], `n` < 1, no label of either kind, or a judge that is no better than chance.

    Source: Lee et al. 2025, arXiv 2511.21140; Rogan and Gladen 1978, American Journal of Epidemiology 107(1).
    """
    check_count("n", n, minimum=1)
    if not 0.0 <= rate <= 1.0:
        msg = f"rate must lie between 0 and 1, got {rate!r}"
        raise ValueError(msg)
    q0, q1 = counts.specificity, counts.sensitivity
    if q0 is None or q1 is None:
        msg = f"needs labels of both kinds, got {counts.positives} of 1 and {counts.negatives} of 0"
        raise ValueError(msg)
    strength = q0 + q1 - 1.0
    if strength <= 0.0:
        msg = f"the judge is no better than chance: it finds {q1:.0%} of the right and {q0:.0%} of the wrong answers"
        raise ValueError(msg)
    theta = (rate + q0 - 1.0) / strength
    held = min(1.0, max(0.0, theta))
    variance = (
        rate * (1.0 - rate) / n
        + (1.0 - held) ** 2 * q0 * (1.0 - q0) / counts.negatives
        + held**2 * q1 * (1.0 - q1) / counts.positives
    ) / strength**2
    return CorrectedRate(held, variance, clipped=held != theta)


def mcnemar_exact(gone: int, new: int) -> float:
    """Compute the two-sided p-value that as many labels turned from 1 to 0 (`gone`) as from 0 to 1 (`new`).

    1 when nothing turned.

    Raises:
        ValueError: a negative count.

    Source: McNemar 1947, Psychometrika 12(2), in its exact binomial form.
    """
    check_count("gone", gone, minimum=0)
    check_count("new", new, minimum=0)
    turned = gone + new
    return min(1.0, 2.0 * float(special.bdtr(min(gone, new), turned, 0.5))) if turned else 1.0


def _row(counts: Confusion) -> tuple[int, int, int, int]:
    return counts.true_positive, counts.false_negative, counts.false_positive, counts.true_negative


def _kappas(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return kappa of (n, 4) counts in the order of `Confusion`; NaN where it is undefined."""
    total = rows.sum(axis=1)
    observed = (rows[:, 0] + rows[:, 3]) * total
    people, judge = rows[:, 0] + rows[:, 1], rows[:, 0] + rows[:, 2]
    chance = people * judge + (total - people) * (total - judge)
    room = total**2 - chance
    # Both constant and equal: whole counts, so that the comparison with 0 is exact.
    found: npt.NDArray[np.float64] = np.where(room > 0, (observed - chance) / np.where(room > 0, room, 1.0), np.nan)
    return found
