"""Time as a port, so that rules and loops can be tested in virtual time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the code reads time from; injected everywhere."""

    def now_s(self) -> float:
        """Return seconds since the Unix epoch (wall clock, may jump)."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds of a clock that never goes back; its zero means nothing."""
        ...


class SystemClock:
    """The machine's clocks: `now_s` the wall clock, `monotonic_s` the monotonic one."""

    # The functions themselves: they are called several times for each request.
    now_s = staticmethod(time.time)
    monotonic_s = staticmethod(time.monotonic)


class ManualClock:
    """A clock that moves only when told to; for tests and simulations."""

    def __init__(self, now_s: float = 1_750_000_000.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        """Return the set time."""
        return self._now_s

    def monotonic_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_s += seconds
        self._monotonic_s += seconds
