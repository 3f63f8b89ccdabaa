"""A circuit breaker for one engine; a pure rule over an injected clock, asked by `gateway.attempts`."""

from shipway.core.clock import Clock


class CircuitBreaker:
    """Opens after `failures` in a row, lets one probe through after `open_s`, closes when the probe succeeds.

    Every admitted call must be settled by exactly one of `succeeded`, `failed` or `abandoned`.
    """

    def __init__(self, clock: Clock, *, failures: int, open_s: float) -> None:
        self._clock = clock
        self._limit = failures
        self._open_s = open_s
        self._failed = 0
        self._opened_at_s: float | None = None
        self._probing = False

    @property
    def state(self) -> int:
        """Return 0 closed, 1 half open (a probe is due or on its way), 2 open."""
        if self._opened_at_s is None:
            return 0
        return 2 if self._opened_at_s + self._open_s > self._clock.monotonic_s() else 1

    @property
    def is_resting(self) -> bool:
        """Return whether a call would be refused now; asking does not admit one."""
        if self._opened_at_s is None:
            return False
        return self._probing or self._opened_at_s + self._open_s > self._clock.monotonic_s()

    def wait_s(self) -> float:
        """Return 0.0 and admit the call, or the seconds until one is worth trying."""
        if self._opened_at_s is None:
            return 0.0
        left_s = self._opened_at_s + self._open_s - self._clock.monotonic_s()
        if left_s > 0:
            return left_s
        if self._probing:
            return self._open_s
        self._probing = True
        return 0.0

    def succeeded(self) -> None:
        """Close: the engine works; a call from before it opened says nothing about now."""
        if self._opened_at_s is not None and not self._probing:
            return
        self._failed = 0
        self._opened_at_s = None
        self._probing = False

    def failed(self) -> None:
        """Count a failure; the last allowed one, or a failed probe, opens. One from before does not prolong a rest."""
        if not self._probing and self.is_resting:
            return
        self._failed += 1
        if self._probing or self._failed >= self._limit:
            self._opened_at_s = self._clock.monotonic_s()
        self._probing = False

    def abandoned(self) -> None:
        """Forget the call: the client left, so it says nothing about the engine."""
        self._probing = False
