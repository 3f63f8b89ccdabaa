"""Request limits: rate per key and concurrency per worker.

In-process for now: with n workers a key may use n times its rate. Sharing the counters between the workers of a host is
a later step; the classes keep their interface then.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shipway.core.clock import Clock
from shipway.gateway.replies import RefusedError, retry_after

_MOST_KEYS = 10_000
"""Beyond this, keys that may call again anyway are forgotten."""


class RateLimit:
    """Requests per minute and key, with a burst.

    Source: the generic cell rate algorithm (ITU-T I.371): one theoretical arrival time a key. A rejected request leaves
    it unchanged, so it consumes nothing.
    """

    def __init__(self, clock: Clock, *, per_min: float, burst: int) -> None:
        self._clock = clock
        self._interval_s = 60.0 / per_min if per_min > 0 else 0.0
        self._tolerance_s = self._interval_s * (max(burst, 1) - 1)
        self._due_s: dict[str, float] = {}

    def wait_s(self, key: str) -> float:
        """Return 0.0 and count the request, or the seconds to wait."""
        if not self._interval_s:
            return 0.0
        now_s = self._clock.monotonic_s()
        if len(self._due_s) > _MOST_KEYS:
            self._due_s = {known: due for known, due in self._due_s.items() if due > now_s}
        due_s = max(self._due_s.get(key, now_s), now_s)
        # A microsecond of slack: the caller who waited exactly as told must not fail on rounding.
        wait_s = due_s - self._tolerance_s - now_s
        if wait_s > 1e-6:  # noqa: PLR2004
            return wait_s
        self._due_s[key] = due_s + self._interval_s
        return 0.0


class ConcurrencyLimit:
    """At most `active` requests at work and `queued` waiting, first come first served.

    `at_work` and `waiting` count them, for the metrics.
    """

    def __init__(self, *, active: int, queued: int) -> None:
        self._slots = asyncio.Semaphore(active)
        self._queued = queued
        self.at_work = 0
        self.waiting = 0

    @asynccontextmanager
    async def slot(self, wait_s: float) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            RefusedError: 503 when the queue is full or the wait was longer than `wait_s`.
        """
        await self._acquire(wait_s)
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1
            self._slots.release()

    async def _acquire(self, wait_s: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        if self.waiting >= self._queued:
            raise _overloaded()
        self.waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._slots.acquire()
        except TimeoutError:
            raise _overloaded() from None
        finally:
            self.waiting -= 1


def _overloaded() -> RefusedError:
    return RefusedError(503, "too many requests at work; try again", code="overloaded", retry_after=retry_after(1.0))
