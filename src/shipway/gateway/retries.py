"""How much extra load the gateway may put on engines: a budget for retries, one for hedges. Pure over a clock.

A retry helps one request and hurts all others when an engine is down: it multiplies the load just then. So retries are
counted against the requests of the same ten seconds, over all requests of this worker.

Source: the retry budget of Finagle and Envoy (`retry_budget`, 20 %).
"""

from collections import deque

from shipway.core.clock import Clock

WINDOW_S = 10.0
_SLICES = 10
_SLICE_S = WINDOW_S / _SLICES
_ALWAYS = 5
_SAMPLES = 256
_ENOUGH = 32
_REFRESH = 16
_HEDGE_AT = 0.95


class ExtraBudget:
    """Lets a share of the requests of the last ten seconds be made once more.

    `always` extras in that time are allowed even without traffic, so that a lone request may be retried.
    """

    def __init__(self, clock: Clock, share: float, *, always: int = _ALWAYS) -> None:
        self._clock = clock
        self.share = share
        self._always = always
        self._slices: deque[list[float]] = deque()
        self._requests = 0
        self._extras = 0

    def request(self) -> None:
        """Count a request."""
        self._slice()[1] += 1
        self._requests += 1

    def take(self) -> bool:
        """Return whether one more extra may be made, and count it."""
        now = self._slice()
        if self.share <= 0 or self._extras + 1 > max(self._always, self.share * self._requests):
            return False
        now[2] += 1
        self._extras += 1
        return True

    def _slice(self) -> list[float]:
        now_s = self._clock.monotonic_s()
        slices = self._slices
        if slices and now_s - slices[-1][0] < _SLICE_S:
            return slices[-1]
        while slices and now_s - slices[0][0] >= WINDOW_S:
            _, requests, extras = slices.popleft()
            self._requests -= int(requests)
            self._extras -= int(extras)
        slices.append([now_s, 0, 0])
        return slices[-1]


class HedgeTimer:
    """When a second try is worth it: after the 95th percentile of recent answers, None until enough were seen."""

    def __init__(self) -> None:
        self._latencies_s: deque[float] = deque(maxlen=_SAMPLES)
        self._since = 0
        self._delay_s: float | None = None

    @property
    def delay_s(self) -> float | None:
        """Return how long the first try is waited for."""
        return self._delay_s

    def observe(self, latency_s: float) -> None:
        """Take the time that an answer needed."""
        self._latencies_s.append(latency_s)
        self._since += 1
        if len(self._latencies_s) >= _ENOUGH and (self._delay_s is None or self._since >= _REFRESH):
            ordered = sorted(self._latencies_s)
            self._delay_s = ordered[min(len(ordered) - 1, int(_HEDGE_AT * len(ordered)))]
            self._since = 0
