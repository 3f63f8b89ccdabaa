"""How many cases are in flight at once; the runner asks, and tells how calls ended.

Additive increase, multiplicative decrease: an endpoint that says "too many" is asked half as much, and by and by more
again. Pure: time comes from the caller.
"""

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_PAUSE_S = 120.0
"""What an endpoint may ask for; a longer pause would look like a hang."""


class AdaptiveLimit:
    """The limit that is in force, and until when nobody is asked at all."""

    def __init__(self, start: int, ceiling: int) -> None:
        self.limit = start
        self.paused_until_s = 0.0
        self._ceiling = max(start, ceiling)
        self._successes = 0
        self._lowered_at_s = float("-inf")

    def succeeded(self) -> None:
        """Count an answer; after as many as the limit it grows by one, up to the ceiling."""
        self._successes += 1
        if self._successes >= self.limit:
            self._successes = 0
            self.limit = min(self._ceiling, self.limit + 1)

    def pushed_back(self, started_s: float, now_s: float, retry_after_s: float | None) -> None:
        """Count a call that was turned away with 429 or 503, begun at `started_s`.

        What was in flight when the limit fell says the same once more and does not lower it again.
        """
        if started_s >= self._lowered_at_s:
            self.limit = max(1, self.limit // 2)
            self._lowered_at_s = now_s
        self._successes = 0
        if retry_after_s is not None:
            self.paused_until_s = max(self.paused_until_s, now_s + min(retry_after_s, LONGEST_PAUSE_S))


def retry_after(text: str | None, now_s: float) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None without one that can be read."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now_s
    return seconds if 0.0 <= seconds < float("inf") else None
