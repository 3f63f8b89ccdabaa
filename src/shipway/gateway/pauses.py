"""Which engines asked to be left alone, and for whom; `gateway.routed` keeps one for all releases, lanes look in it.

A 429 belongs to what the provider limits: one model of one engine, for one key. When it says how long, that is the
account's limit, which every release on it would run into: all of them wait. Without a time the pause is a guess, and
the cause may be what one release sends (a prompt larger than the limit of a minute): only that release waits.
"""

from dataclasses import dataclass, field

from shipway.core.clock import Clock


@dataclass(slots=True)
class _Pause:
    """Until when nobody asks, until when some release does not, and the later of all."""

    told_s: float = 0.0
    guessed_s: dict[str, float] = field(default_factory=dict)
    latest_s: float = 0.0


class Pauses:
    """Pauses by `routed.pause_key`, over the monotonic time of a clock; one already longer stays."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pauses: dict[str, _Pause] = {}

    def told(self, key: str, pause_s: float) -> None:
        """Leave it alone for as long as it said, whoever the release is."""
        pause, until_s = self._pauses.setdefault(key, _Pause()), self._clock.monotonic_s() + pause_s
        pause.told_s = max(pause.told_s, until_s)
        pause.latest_s = max(pause.latest_s, until_s)

    def guessed(self, key: str, release: str, pause_s: float) -> None:
        """Have one release leave it alone, which was turned away without a time."""
        now_s = self._clock.monotonic_s()
        pause, until_s = self._pauses.setdefault(key, _Pause()), now_s + pause_s
        kept = {name: known_s for name, known_s in pause.guessed_s.items() if known_s > now_s}
        pause.guessed_s = {**kept, release: max(kept.get(release, 0.0), until_s)}
        pause.latest_s = max(pause.latest_s, until_s)

    def concerns(self, key: str) -> bool:
        """Return whether any release leaves it alone now; `left_s` says whether one does."""
        pause = self._pauses.get(key)
        return pause is not None and pause.latest_s > self._clock.monotonic_s()

    def told_left_s(self, key: str) -> float:
        """Return how much longer it asked to be left alone by everybody."""
        pause = self._pauses.get(key)
        return 0.0 if pause is None else max(0.0, pause.told_s - self._clock.monotonic_s())

    def left_s(self, key: str, release: str) -> float:
        """Return how much longer a release leaves it alone."""
        pause = self._pauses.get(key)
        if pause is None:
            return 0.0
        until_s = max(pause.told_s, pause.guessed_s.get(release, 0.0))
        return max(0.0, until_s - self._clock.monotonic_s())
