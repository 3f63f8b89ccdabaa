"""From which cosine on two questions may share an answer: chosen on labelled questions, with a bound. Pure.

`services.caching` measures the cosines and stores the result; the gateway starts its semantic cache with no other
threshold.

One trial is one question: had every question with another answer been in the cache, would this one have got a wrong
answer? Thresholds are tried from high to low and the search ends at the first whose bound is too high; testing in a
fixed order keeps the confidence without a correction for the number of thresholds. Source: Bauer 1991, Statistics in
Medicine 10; Angelopoulos et al. 2110.01052 (fixed-sequence testing).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.stats.proportions import clopper_pearson_upper, n_for_zero_failures

ALPHA = 0.05
HIGHEST = 0.995
LOWEST = 0.60
_STEP = 0.005


@dataclass(frozen=True, slots=True)
class Trials:
    """What was measured.

    `wrong` holds for each question the highest cosine with a question of another answer that the wording lets pass
    (-1 without one); `right` one cosine for each pair with the same answer (-1 where the wording parts it).
    """

    wrong: tuple[float, ...]
    right: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and what is known of it; valid for one embedder and one set of questions."""

    threshold: float
    questions: int
    false_hits: int
    bound: float
    max_false_hit_rate: float
    hit_share: float | None
    embedder: Digest
    dataset: Digest
    at_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Calibration":
        """Return the calibration of a JSON form."""
        return cls(**data)

    def outdated_because(self, *, embedder: Digest, dataset: Digest, max_false_hit_rate: float) -> str:
        """Return why it does not hold any more; "" when it does."""
        if self.embedder != embedder:
            return "it was made with another embedding model"
        if self.dataset != dataset:
            return "the questions that it was made with have changed"
        if self.bound > max_false_hit_rate:
            return f"its bound of {self.bound:.4f} is above cache.max_false_hit_rate {max_false_hit_rate:g}"
        return ""


def calibrated(
    trials: Trials, *, max_false_hit_rate: float, embedder: Digest, dataset: Digest, at_s: float
) -> Calibration:
    """Return the lowest threshold whose false-hit rate is at most `max_false_hit_rate` with 95 % confidence.

    Raises:
        UsageError: too few questions to show it, or even the highest threshold gives too many wrong answers.
    """
    n = len(trials.wrong)
    needed = n_for_zero_failures(max_false_hit_rate, ALPHA)
    if n < needed:
        raise UsageError(
            f"{n} questions cannot show a false-hit rate of at most {max_false_hit_rate:g}: that takes {needed} "
            "without a wrong answer",
            hint="add labelled questions (cache.pairs), or raise cache.max_false_hit_rate",
        )
    chosen: tuple[float, int, float] | None = None
    for step in range(round((HIGHEST - LOWEST) / _STEP) + 1):
        threshold = round(HIGHEST - step * _STEP, 3)
        false_hits = sum(cosine >= threshold for cosine in trials.wrong)
        bound = clopper_pearson_upper(false_hits, n, ALPHA)
        if bound > max_false_hit_rate:
            break
        chosen = (threshold, false_hits, bound)
    if chosen is None:
        raise UsageError(
            f"no threshold keeps wrong answers below {max_false_hit_rate:g}: questions with different answers have "
            f"cosines of {HIGHEST:g} and more",
            hint="look for questions in the dataset that are the same but are labelled as different",
        )
    threshold, false_hits, bound = chosen
    return Calibration(
        threshold=threshold,
        questions=n,
        false_hits=false_hits,
        bound=bound,
        max_false_hit_rate=max_false_hit_rate,
        hit_share=_share(trials.right, threshold),
        embedder=embedder,
        dataset=dataset,
        at_s=at_s,
    )


def _share(cosines: Sequence[float], threshold: float) -> float | None:
    return sum(cosine >= threshold for cosine in cosines) / len(cosines) if cosines else None
