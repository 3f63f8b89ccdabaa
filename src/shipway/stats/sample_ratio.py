"""Sample-ratio mismatch: whether each arm got the share of conversations that the traffic table said.

The rollout analysis runs it beside every other test; a mismatch (lost records, sticky assignments, a foreign weight
change) makes all other comparisons of the arms worthless.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shipway.stats.arguments import check_count
from shipway.stats.mixtures import (
    bet,
    is_informative,
    mixture_value,
    stored_count,
    stored_numbers,
    uniform_log_weights,
)

ODDS_RATIOS = (0.5, 0.67, 0.8, 0.9, 1.11, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class SampleRatioState:
    """The running sums of a two-sided mixture over odds ratios against "assigned as configured".

    Source: Lindon and Malek 2020, arXiv 2011.03567, sample-ratio mismatch; the grid mixture is Shipway's.
    """

    log_weights: tuple[float, ...] = uniform_log_weights(len(ODDS_RATIOS))
    odds_ratios: tuple[float, ...] = ODDS_RATIOS
    candidates: int = 0
    stable: int = 0

    def __post_init__(self) -> None:
        """Refuse a damaged grid."""
        if not self.odds_ratios or len(self.odds_ratios) != len(self.log_weights) or min(self.odds_ratios) <= 0.0:
            msg = f"a sample-ratio state needs one log-weight per positive odds ratio, got {self.odds_ratios}"
            raise ValueError(msg)

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-ready form; `from_dict` reads it back."""
        return {
            "log_weights": list(self.log_weights),
            "odds_ratios": list(self.odds_ratios),
            "candidates": self.candidates,
            "stable": self.stable,
        }

    @classmethod
    def from_dict(cls, payload: Mapping[str, object]) -> Self:
        """Read the form that `to_dict` wrote.

        Raises:
            ValueError: a field is missing or is not what `to_dict` writes.
        """
        return cls(
            log_weights=stored_numbers(payload, "log_weights"),
            odds_ratios=stored_numbers(payload, "odds_ratios"),
            candidates=stored_count(payload, "candidates"),
            stable=stored_count(payload, "stable"),
        )


def update_sample_ratio(
    state: SampleRatioState,
    *,
    candidates: int,
    stable: int,
    candidate_weight: float,
) -> SampleRatioState:
    """Return the state after a batch of conversations that were assigned at one weight.

    Conversations assigned at weight 0 or 1 leave the state as it is.

    Raises:
        ValueError: a negative count, or `candidate_weight` NaN or outside [0, 1].
    """
    check_count("candidates", candidates, minimum=0)
    check_count("stable", stable, minimum=0)
    if not is_informative(candidate_weight):
        return state
    return SampleRatioState(
        log_weights=bet(state.log_weights, state.odds_ratios, 1.0, candidate_weight, (candidates, stable)),
        odds_ratios=state.odds_ratios,
        candidates=state.candidates + candidates,
        stable=state.stable + stable,
    )


def sample_ratio_e_value(state: SampleRatioState) -> float:
    """Return the evidence against "assigned as configured"; at 1/alpha or more, at any look, pause the analysis.

    Source: Lindon and Malek 2020, arXiv 2011.03567.
    """
    return mixture_value(state.log_weights)


def sample_ratio_p_value(candidates: int, *, weight_sum: float, variance_sum: float) -> float:
    """Compute the two-sided p-value of the candidate's count for ONE look; peeking needs `sample_ratio_e_value`.

    `weight_sum` is the sum of the assignment probabilities w, `variance_sum` that of w(1 - w), over conversations.
    Normal with continuity correction: trust small p-values only when `variance_sum` is about 10 or more. Without
    variance the count must equal its expectation.

    Raises:
        ValueError: a negative or non-finite argument.

    Source: Fabijan et al. 2019, KDD, on diagnosing sample-ratio mismatch.
    """
    check_count("candidates", candidates, minimum=0)
    if not (0.0 <= variance_sum <= weight_sum < math.inf):
        msg = f"need 0 <= variance_sum <= weight_sum, got {variance_sum!r} and {weight_sum!r}"
        raise ValueError(msg)
    # Sums of many weights are not exact: an excess below half a conversation is none.
    excess = max(0.0, abs(candidates - weight_sum) - 0.5)
    if variance_sum == 0.0:
        return 1.0 if excess == 0.0 else 0.0
    return math.erfc(excess / math.sqrt(2.0 * variance_sum))
