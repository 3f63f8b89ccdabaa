"""A watch without end: an alarm soon after a rate has risen, and rarely while it has not.

The rollout's watch after a promotion feeds one conversation after the other. Each alternative rate keeps a sum of
log-likelihood ratios that never falls below zero. Alarming when one of `k` sums reaches ln(k * mean_run) makes the mean
number of conversations until a false alarm at least `mean_run`, for any rate up to the base rate.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from shipway.stats.arguments import check_open_share
from shipway.stats.mixtures import stored_number, stored_numbers

_LARGEST_RATE = 0.99


@dataclass(frozen=True, slots=True)
class CusumState:
    """One sum per alternative rate.

    Source: Page 1954, Biometrika 41(1/2); Lorden 1971, Annals of Mathematical Statistics 42(6), for the bound.
    """

    base_rate: float
    rates: tuple[float, ...]
    sums: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse alternatives that are no rise."""
        check_open_share("base_rate", self.base_rate)
        if not self.rates or len(self.rates) != len(self.sums):
            msg = f"a watch needs one sum per alternative rate, got {self.rates} and {self.sums}"
            raise ValueError(msg)
        if not all(self.base_rate < rate < 1.0 for rate in self.rates):
            msg = f"alternative rates {self.rates} must lie between base_rate {self.base_rate!r} and 1"
            raise ValueError(msg)

    @classmethod
    def start(cls, base_rate: float, ratios: Sequence[float]) -> Self:
        """Return the state before any conversation; alternatives are multiples of the base rate, at most 0.99.

        Raises:
            ValueError: `base_rate` is outside (0, 0.99), or a ratio is 1 or less.
        """
        rates = tuple(sorted({min(base_rate * ratio, max(_LARGEST_RATE, base_rate)) for ratio in ratios}))
        return cls(base_rate, rates, (0.0,) * len(rates))

    def to_dict(self) -> dict[str, object]:
        """Return a JSON-ready form; `from_dict` reads it back."""
        return {"base_rate": self.base_rate, "rates": list(self.rates), "sums": list(self.sums)}

    @classmethod
    def from_dict(cls, payload: Mapping[str, object]) -> Self:
        """Read the form that `to_dict` wrote.

        Raises:
            ValueError: a field is missing or is not what `to_dict` writes.
        """
        rates, sums = stored_numbers(payload, "rates"), stored_numbers(payload, "sums")
        return cls(stored_number(payload, "base_rate"), rates, sums)


def begin(state: CusumState) -> CusumState:
    """Return the state after a conversation's first request; it is good until `turn_bad`."""
    steps = (math.log((1.0 - rate) / (1.0 - state.base_rate)) for rate in state.rates)
    return _moved(state, steps)


def turn_bad(state: CusumState) -> CusumState:
    """Return the state after a conversation that had begun turned bad, once.

    What `begin` took is not given back: at zero it took nothing, and to give it back there would be one false alarm
    more. Together the two are at most what a conversation that is bad at once adds.
    """
    return _moved(state, (math.log(rate / state.base_rate) for rate in state.rates))


def add_conversation(state: CusumState, *, bad: bool) -> CusumState:
    """Return the state after a conversation whose outcome is known at once."""
    return turn_bad(state) if bad else begin(state)


def threshold(state: CusumState, mean_run: float) -> float:
    """Return the sum at which to alarm so that false alarms are at least `mean_run` conversations apart on average.

    Raises:
        ValueError: `mean_run` is not above 1.
    """
    if not 1.0 < mean_run < math.inf:
        msg = f"mean_run must exceed 1 conversation, got {mean_run!r}"
        raise ValueError(msg)
    return math.log(len(state.rates) * mean_run)


def alarmed(state: CusumState, mean_run: float) -> bool:
    """Tell whether a sum has reached its threshold."""
    return max(state.sums) >= threshold(state, mean_run)


def _moved(state: CusumState, steps: Iterable[float]) -> CusumState:
    sums = tuple(max(0.0, total + step) for total, step in zip(state.sums, steps, strict=True))
    return CusumState(state.base_rate, state.rates, sums)
