"""A circuit breaker for one engine; a pure rule over an injected clock, asked by `gateway.attempts`."""

from shipway.core.clock import Clock


class CircuitBreaker:
    """Opens after `failures` in a row, lets one probe through after `open_s`, closes when the probe succeeds.

    Every admitted call must be settled by one of `succeeded`, `failed` or `abandoned`, with the `generation` that was
    in force when it was admitted: a call from before the breaker opened says nothing about the engine now.
    """

    def __init__(self, clock: Clock, *, failures: int, open_s: float) -> None:
        self._clock = clock
        self._limit = failures
        self._open_s = open_s
        self._failed = 0
        self._opened_at_s: float | None = None
        self._probing = False
        self.generation = 0

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
        """Return 0.0 and admit the call into the `generation` that is in force then, or the seconds until a try."""
        if self._opened_at_s is None:
            return 0.0
        left_s = self._opened_at_s + self._open_s - self._clock.monotonic_s()
        if left_s > 0:
            return left_s
        if self._probing:
            return self._open_s
        self._probing = True
        # The probe is alone in its generation, so nobody else can speak for it.
        self.generation += 1
        return 0.0

    def succeeded(self, generation: int) -> None:
        """Close: the engine works."""
        if generation != self.generation:
            return
        self._failed = 0
        self._opened_at_s = None
        self._probing = False

    def failed(self, generation: int) -> None:
        """Count a failure; the last allowed one, or a failed probe, opens."""
        if generation != self.generation:
            return
        self._failed += 1
        if self._opened_at_s is not None or self._failed >= self._limit:
            self._opened_at_s = self._clock.monotonic_s()
            self.generation += 1
        self._probing = False

    def abandoned(self, generation: int) -> None:
        """Forget the call: the client left, so it says nothing about the engine."""
        if generation == self.generation:
            self._probing = False
