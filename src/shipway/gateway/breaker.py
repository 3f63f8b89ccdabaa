"""A circuit breaker for one engine; a pure rule over an injected clock, asked by `gateway.attempts`."""

from shipway.core.clock import Clock


class CircuitBreaker:
    """Opens after `failures` in a row, lets one probe through after a rest, closes when the probe succeeds.

    The rest is `open_s`. A process that is gone may be back at once, and asking whether it is costs next to nothing:
    then the rest is `first_s`, and twice as long after each probe that finds it gone, up to `open_s`.
    Every admitted call must be settled by one of `succeeded`, `failed` or `abandoned`, with the `generation` that was
    in force when it was admitted: a call from before the breaker opened says nothing about the engine now.
    """

    def __init__(self, clock: Clock, *, failures: int, open_s: float, first_s: float) -> None:
        self._clock = clock
        self._limit = failures
        self._open_s = open_s
        self._first_s = min(first_s, open_s)
        self._next_s = self._first_s
        self._rest_s = open_s
        self._failed = 0
        self._opened_at_s: float | None = None
        self._probing = False
        self.generation = 0

    @property
    def state(self) -> int:
        """Return 0 closed, 1 half open (a probe is due or on its way), 2 open."""
        if self._opened_at_s is None:
            return 0
        return 2 if self._opened_at_s + self._rest_s > self._clock.monotonic_s() else 1

    @property
    def is_resting(self) -> bool:
        """Return whether a call would be refused now; asking does not admit one."""
        if self._opened_at_s is None:
            return False
        return self._probing or self._opened_at_s + self._rest_s > self._clock.monotonic_s()

    def wait_s(self) -> float:
        """Return 0.0 and admit the call into the `generation` that is in force then, or the seconds until a try."""
        if self._opened_at_s is None:
            return 0.0
        left_s = self._opened_at_s + self._rest_s - self._clock.monotonic_s()
        if left_s > 0:
            return left_s
        if self._probing:
            return self._rest_s
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
        self._next_s = self._first_s

    def failed(self, generation: int, *, gone: bool = False) -> None:
        """Count a failure; the last allowed one, or a failed probe, opens; `gone` when there was no process at all."""
        if generation != self.generation:
            return
        self._failed += 1
        if self._opened_at_s is not None or self._failed >= self._limit:
            self._opened_at_s = self._clock.monotonic_s()
            self._rest_s = self._open_s
            if gone:
                self._rest_s = self._next_s
                self._next_s = min(2.0 * self._next_s, self._open_s)
            self.generation += 1
        self._probing = False

    def abandoned(self, generation: int) -> None:
        """Forget the call: the client left, so it says nothing about the engine."""
        if generation == self.generation:
            self._probing = False
