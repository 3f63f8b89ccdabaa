"""A circuit breaker for one release on one engine; a pure rule over an injected clock, asked by `gateway.attempts`."""

from collections.abc import Sequence

from shipway.core.clock import Clock

_RECENT = 16
_RECENT_MASK = (1 << _RECENT) - 1
_FAILING_SHARE = 0.2
"""With more of its latest calls failed, a release is not served well."""


class CircuitBreaker:
    """Opens after `failures` in a row, lets one probe through after a rest, closes when the probe succeeds.

    The rest is `open_s`. A process that is gone may be back at once, and asking whether it is costs next to nothing:
    then the rest is `first_s`, and twice as long after each probe that finds it gone, up to `open_s`.
    Every admitted call must be settled by one of `succeeded`, `failed` or `abandoned`, with the `generation` that was
    in force when it was admitted: a call from before the breaker opened says nothing about the engine now.

    `peers` are the breakers of the releases on the same engine. When one opens, those whose latest calls fail too open
    with it, and they close together: what is wrong is the engine's, and must cost all releases the same. A release that
    is served well is not touched by what another one does.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures: int,
        open_s: float,
        first_s: float,
        peers: "Sequence[CircuitBreaker]" = (),
    ) -> None:
        self._clock = clock
        self._peers = peers
        self._recent = 0
        self._known = 0
        self._together: tuple[CircuitBreaker, ...] = (self,)
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
        if not self._recent and self._known == _RECENT and not self._failed and self._opened_at_s is None:
            return  # closed, and nothing but successes is known: nothing changes
        self._note(failed=False)
        if generation == self.generation:
            for each in self._together:
                each.close()

    def failed(self, generation: int, *, gone: bool = False) -> None:
        """Count a failure; the last allowed one, or a failed probe, opens; `gone` when there was no process at all."""
        self._note(failed=True)
        if generation != self.generation:
            return
        self._failed += 1
        if self._opened_at_s is None and self._failed < self._limit:
            return
        rest_s = self._open_s
        if gone:
            rest_s = self._next_s
            self._next_s = min(2.0 * self._next_s, self._open_s)
        if self._opened_at_s is None:
            self._together = (self, *(peer for peer in self._peers if peer is not self and peer.may_join))
        for each in self._together:
            each.open(rest_s, self._together)

    def abandoned(self, generation: int) -> None:
        """Forget the call: the client left, so it says nothing about the engine."""
        if generation == self.generation:
            self._probing = False

    # What the breakers of one engine tell one another.

    @property
    def may_join(self) -> bool:
        """Return whether it is closed, and a share of its latest calls has failed that no release has by itself."""
        return self._opened_at_s is None and self._recent.bit_count() > _FAILING_SHARE * self._known

    def open(self, rest_s: float, together: "tuple[CircuitBreaker, ...]") -> None:
        """Rest from now on, with others or alone."""
        self._together = together
        self._opened_at_s = self._clock.monotonic_s()
        self._rest_s = rest_s
        self._probing = False
        self.generation += 1

    def close(self) -> None:
        """Let every call through."""
        self._together = (self,)
        self._failed = 0
        self._opened_at_s = None
        self._probing = False
        self._next_s = self._first_s

    def _note(self, *, failed: bool) -> None:
        self._recent = (self._recent << 1 | failed) & _RECENT_MASK
        self._known = min(_RECENT, self._known + 1)
