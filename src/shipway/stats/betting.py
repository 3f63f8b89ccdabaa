"""Evidence on the mean of bounded differences that may be looked at after every pair: shadow answers against stable's.

The rollout analysis feeds d = utility(candidate) - utility(stable) of one pair per conversation. Two processes bet at
once: one against "the mean is at least -harm" (harm), one against "the mean is at most -margin" (no harm). Both are
exact for any distribution on [-1, 1]: each bet is fixed before the pair is seen, and never risks more than half.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shipway.stats.arguments import check_open_share
from shipway.stats.mixtures import stored_count, stored_number

# As if half a pair of variance 1/4 had been seen: the first bets are small.
_PRIOR_COUNT = 0.5
_PRIOR_SQUARES = 0.125
_MOST = 0.5
_MAX_LOG = 700.0
# Pairs that an estimate goes through one by one.
_MOST_COUNTED = 20_000


@dataclass(frozen=True, slots=True)
class PairState:
    """The running sums; small enough for a database row.

    Source: Waudby-Smith and Ramdas 2020, arXiv 2010.09686, the capital process; the bet is the approximate Kelly one.
    """

    harm: float
    margin: float
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    log_harm: float = 0.0
    log_no_harm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse margins that are no drop."""
        if not 0.0 <= self.harm < 1.0:
            msg = f"harm must be a drop in [0, 1), got {self.harm!r}"
            raise ValueError(msg)
        check_open_share("margin", self.margin)

    @property
    def mean(self) -> float:
        """The mean difference so far, 0 before the first pair."""
        return self.total / self.count if self.count else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-ready form; `from_dict` reads it back."""
        return {
            "harm": self.harm,
            "margin": self.margin,
            "count": self.count,
            "total": self.total,
            "squares": self.squares,
            "log_harm": self.log_harm,
            "log_no_harm": self.log_no_harm,
        }

    @classmethod
    def from_dict(cls, payload: Mapping[str, object]) -> Self:
        """Read the form that `to_dict` wrote.

        Raises:
            ValueError: a field is missing or is not what `to_dict` writes.
        """
        return cls(
            harm=stored_number(payload, "harm"),
            margin=stored_number(payload, "margin"),
            count=stored_count(payload, "count"),
            total=stored_number(payload, "total"),
            squares=stored_number(payload, "squares"),
            log_harm=stored_number(payload, "log_harm"),
            log_no_harm=stored_number(payload, "log_no_harm"),
        )


def bets(state: PairState) -> tuple[float, float]:
    """Return what is staked on the next pair for (harm, no harm), from the earlier pairs alone."""
    weight = state.count + _PRIOR_COUNT
    mean = state.total / weight
    variance = max((state.squares + _PRIOR_SQUARES) / weight - mean * mean, 1e-6)
    return (
        _stake(-mean - state.harm, variance, 1.0 + state.harm),
        _stake(mean + state.margin, variance, 1.0 - state.margin),
    )


def add_pair(state: PairState, difference: float) -> PairState:
    """Return the state after one pair.

    Raises:
        ValueError: `difference` is NaN or outside [-1, 1].
    """
    if not -1.0 <= difference <= 1.0:
        msg = f"a difference of two utilities lies in [-1, 1], got {difference!r}"
        raise ValueError(msg)
    harm, no_harm = bets(state)
    return PairState(
        harm=state.harm,
        margin=state.margin,
        count=state.count + 1,
        total=state.total + difference,
        squares=state.squares + difference * difference,
        log_harm=state.log_harm + math.log1p(harm * (-difference - state.harm)),
        log_no_harm=state.log_no_harm + math.log1p(no_harm * (difference + state.margin)),
    )


def pair_e_harm(state: PairState) -> float:
    """Return the evidence against "mean difference >= -harm"; at 1/alpha or more, at any look, roll back."""
    return math.exp(max(-_MAX_LOG, min(_MAX_LOG, state.log_harm)))


def pair_e_no_harm(state: PairState) -> float:
    """Return the evidence against "mean difference <= -margin"; at 1/alpha or more promotion may be considered."""
    return math.exp(max(-_MAX_LOG, min(_MAX_LOG, state.log_no_harm)))


def pairs_needed(margin: float, alpha: float) -> int:
    """Estimate the pairs until "no harm" is shown at `alpha` when no pair differs; where some do it takes more.

    Raises:
        ValueError: `margin` or `alpha` outside (0, 1).
    """
    check_open_share("alpha", alpha)
    state, needed = PairState(harm=0.0, margin=margin), math.log(1.0 / alpha)
    while state.log_no_harm < needed:
        if state.count >= _MOST_COUNTED:
            # The bets have stopped growing by then: each pair adds what the last one did.
            step = math.log1p(bets(state)[1] * margin)
            return state.count + math.ceil((needed - state.log_no_harm) / step) if step > 0.0 else sys.maxsize
        state = add_pair(state, 0.0)
    return state.count


def _stake(gain: float, variance: float, worst_loss: float) -> float:
    """Return the share of the capital that grows it fastest when the past repeats itself (0 when it would shrink)."""
    if gain <= 0.0:
        return 0.0
    return min(gain / (variance + gain * gain), _MOST / worst_loss)
