"""Whether the candidate's mean moved by more than a margin, at every look: cost, tokens and judged quality of two arms.

The rollout analysis adds one value per conversation and takes the evidence from the running moments of both arms, one
pair of them per weight: arms are compared only with those who were drawn with the same chance.

The difference of two means is, in information time, a Brownian motion with drift; the mixture over drifts beyond the
margin is a test martingale for every drift up to it. With the variance estimated this holds for many values, hence
`MIN_VALUES` of each arm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from shipway.stats.arguments import check_positive
from shipway.stats.mixtures import stored_count, stored_number

MIN_VALUES = 30
# Below this no spread is believed: a model that gives the same tokens every time still differs in what is asked.
MIN_DEVIATION = 0.05
_MAX_LOG = 700.0
# Beyond, 2 Phi(z) is too small for a float and its asymptote is exact to a thousandth.
_FAR_LEFT = -35.0


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and sum of squared deviations of the values of one arm.

    Source: Welford 1962, Technometrics 4(3).
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be moments."""
        if self.count < 0 or self.squares < 0.0 or not (math.isfinite(self.mean) and math.isfinite(self.squares)):
            msg = f"moments need count >= 0, a finite mean and squares >= 0, got {self!r}"
            raise ValueError(msg)

    def add(self, value: float) -> "Moments":
        """Return the moments with one more value.

        Raises:
            ValueError: `value` is NaN or infinite.
        """
        count = self.count + 1
        delta = value - self.mean
        mean = self.mean + delta / count
        return Moments(count, mean, self.squares + delta * (value - mean))

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-ready form; `from_dict` reads it back."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    @classmethod
    def from_dict(cls, payload: Mapping[str, object]) -> Self:
        """Read the form that `to_dict` wrote.

        Raises:
            ValueError: a field is missing or is not what `to_dict` writes.
        """
        return cls(stored_count(payload, "count"), stored_number(payload, "mean"), stored_number(payload, "squares"))


@dataclass(frozen=True, slots=True)
class Shift:
    """The difference candidate - stable over all strata, its standard error, and the evidence that it exceeds a margin.

    `e_value` is None while an arm has fewer than `MIN_VALUES`.
    """

    difference: float
    error: float
    e_value: float | None


def shift(strata: Sequence[tuple[Moments, Moments]], *, margin: float, scale: float) -> Shift | None:
    """Return the evidence against "candidate - stable <= margin"; None while no stratum has values of both arms.

    `strata` are (candidate, stable). `scale` is about how far beyond the margin an effect that matters lies; the
    mixture is a half-normal of that width. For a drop exchange the arms or negate the values.

    Raises:
        ValueError: `scale` is not positive.

    Source: Johari, Pekelis and Walsh 2015, arXiv 1512.04922 (mSPRT); Jennison and Turnbull 1997, JASA 92(440), for
    the independent increments; Waudby-Smith et al. 2021, arXiv 2103.06476, for an estimated variance.
    """
    check_positive("scale", scale)
    both = [(candidate, stable) for candidate, stable in strata if candidate.count and stable.count]
    if not both:
        return None
    candidates, stables = [pair[0] for pair in both], [pair[1] for pair in both]
    candidate_variance, stable_variance = _variance(candidates), _variance(stables)
    score = information = 0.0
    for candidate, stable in both:
        precision = 1.0 / (candidate_variance / candidate.count + stable_variance / stable.count)
        score += precision * (candidate.mean - stable.mean)
        information += precision
    enough = min(sum(arm.count for arm in candidates), sum(arm.count for arm in stables)) >= MIN_VALUES
    e_value = one_sided_e_value(score - margin * information, information, scale=scale) if enough else None
    return Shift(score / information, information**-0.5, e_value)


def one_sided_e_value(score: float, information: float, *, scale: float) -> float:
    """Return the mixture over drifts in (0, inf) of a Brownian motion that stands at `score` after `information`.

    Each alternative drift t contributes exp(t score - t^2 information / 2) with half-normal weight of width `scale`.
    """
    spread = 1.0 + scale * scale * information
    z = scale * score / math.sqrt(spread)
    if z > _FAR_LEFT:
        log_tail = math.log(math.erfc(-z / math.sqrt(2.0)))
    else:
        log_tail = math.log(math.sqrt(2.0 / math.pi) / -z) - z * z / 2.0
    return math.exp(max(-_MAX_LOG, min(_MAX_LOG, z * z / 2.0 - math.log(spread) / 2.0 + log_tail)))


def _variance(arms: Sequence[Moments]) -> float:
    """Return the variance within strata, pooled over them."""
    freedom = sum(arm.count - 1 for arm in arms)
    found = sum(arm.squares for arm in arms) / freedom if freedom else 0.0
    return max(found, MIN_DEVIATION**2)
