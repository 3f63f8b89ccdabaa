"""What one worker may spend of each budget while Redis is gone: its share of what was left when Redis was last heard.

`limits` tells it what Redis says and asks it during an outage. A budget that this worker has heard nothing about gives
nothing: to guess would be to spend a day's money twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from shipway.core.clock import Clock
from shipway.gateway.calendar import Calendar
from shipway.gateway.quota import Bucket, BudgetAlert, Excess, LimitsLostError, Measure

_MOST = 50_000
_AGAIN_S = 5.0
"""A share that is used up says little about the budget: it is worth another try when Redis may be back."""


def budgets_of(buckets: Sequence[Bucket]) -> tuple[Bucket, ...]:
    """Return the buckets that count money."""
    return tuple(bucket for bucket in buckets if bucket.measure in (Measure.DAILY_USD, Measure.MONTHLY_USD))


@dataclass(slots=True)
class _Known:
    """One budget, in nano-dollars.

    `used` is what Redis has counted, spent and reserved; `held` what runs on this worker's share; `unsent` what was
    spent of it and Redis has not counted yet.
    """

    period: int
    used: int = 0
    held: int = 0
    unsent: int = 0
    told: bool = False


class BudgetShares:
    """The budgets that one worker has heard of."""

    def __init__(self, clock: Clock, share: float, on_alert: Callable[[BudgetAlert], None]) -> None:
        self._calendar = Calendar(clock)
        self._share = share
        self._on_alert = on_alert
        self._known: dict[str, _Known] = {}

    def learn(self, bucket: Bucket, used: int) -> None:
        """Take note of what Redis has counted for a budget."""
        known = self._known.get(bucket.name)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[bucket.name] = _Known(self._period(bucket))
        self._turn(known, bucket)
        known.used = used

    def take(self, budgets: Sequence[Bucket], nano_usd: int) -> Excess | None:
        """Hold money of all budgets or of none.

        Raises:
            LimitsLostError: nothing is known about one of them.
        """
        found = [(bucket, self._known.get(bucket.name)) for bucket in budgets]
        for bucket, known in found:
            if known is None:
                raise LimitsLostError("the limits cannot be reached, and what is left of a budget is not known here")
            self._turn(known, bucket)
            room = max(0, int((bucket.capacity - known.used) * self._share))
            if known.held + known.unsent + nano_usd > room:
                self._tell(known, replace(bucket, capacity=room))
                return Excess(bucket, _AGAIN_S)
        for _, known in found:
            if known is not None:
                known.held += nano_usd
        return None

    def give_back(self, budgets: Sequence[Bucket], held: int, spent: int) -> None:
        """Replace what was held by what was spent, which Redis is still to be told."""
        for bucket in budgets:
            known = self._known.get(bucket.name)
            if known is not None:
                known.held = max(0, known.held - held)
                known.unsent += spent

    def counted(self, budgets: Sequence[Bucket], spent: int) -> None:
        """Take note that Redis has counted what was spent."""
        for bucket in budgets:
            known = self._known.get(bucket.name)
            if known is not None and known.unsent >= spent:
                known.unsent -= spent
                known.used += spent

    def _turn(self, known: _Known, bucket: Bucket) -> None:
        period = self._period(bucket)
        if known.period < period:
            # What runs still belongs to the new period, as in Redis.
            known.period, known.used, known.unsent, known.told = period, 0, 0, False

    def _period(self, bucket: Bucket) -> int:
        self._calendar.look()
        return self._calendar.month if bucket.measure is Measure.MONTHLY_USD else self._calendar.day

    def _tell(self, known: _Known, bucket: Bucket) -> None:
        if not known.told:
            known.told = True
            self._on_alert(BudgetAlert(bucket, 100, known.held + known.unsent))
