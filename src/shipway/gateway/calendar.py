"""UTC days and months as numbers that only grow; `ledger` asks for them at every request with a budget."""

from datetime import UTC, datetime

from shipway.core.clock import Clock

MONTHS = 1_000_000_000
"""Added to the number of a month, so that no day is ever taken for a month."""
GLANCE_S = 0.02
_DAY_S = 86_400


class Calendar:
    """The present `day` (since 1970) and `month` (since year 0, plus MONTHS), as of the last `look`."""

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.now_s
        self._begin_s = 0.0
        self._end_s = 0.0
        self._next_s = 0.0
        self.day = 0
        self.month = 0
        self.look()

    def look(self) -> float:
        """Return the time; the date is worked out anew only when the day is over or the clock was set back."""
        now_s = self._now_s()
        if not self._begin_s <= now_s < self._end_s:
            self.day = int(now_s // _DAY_S)
            self._begin_s = self.day * _DAY_S
            self._end_s = self._begin_s + _DAY_S
            today = datetime.fromtimestamp(now_s, UTC)
            self.month = MONTHS + today.year * 12 + today.month
        return now_s

    def glance(self, monotonic_s: float) -> None:
        """Look, unless that was done within the last GLANCE_S: a new period may begin that much late."""
        if monotonic_s >= self._next_s:
            self._next_s = monotonic_s + GLANCE_S
            self.look()

    def left_s(self, *, monthly: bool) -> float:
        """Return the seconds until the period ends."""
        now_s = self.look()
        if not monthly:
            return self._end_s - now_s
        year, month = divmod(self.month - MONTHS, 12)
        # Months count from 1, so December is the 0th of the year after.
        return datetime(year, month + 1, 1, tzinfo=UTC).timestamp() - now_s
