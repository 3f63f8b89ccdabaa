"""Places at work: how many requests a worker serves at once and how many may wait for one."""

import asyncio
from collections import deque

from shipway.gateway.replies import RefusedError, retry_after


class Places:
    """At most `active` requests at work and `queued` waiting, first come first served.

    `at_work` and `waiting` count them, for the metrics. Requests of parked routes (`gateway.parking`) have no place at
    work, but `parked` of the places in the line.
    """

    def __init__(self, *, active: int, queued: int) -> None:
        self._active = active
        self._queued = queued
        self._line: deque[asyncio.Future[None]] = deque()
        self.at_work = 0
        self.parked = 0

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._line)

    def resize(self, *, active: int, queued: int) -> None:
        """Take other sizes; whoever waits gets the places that are new, and who has one keeps it."""
        self._active, self._queued = active, queued
        while self._line and self.at_work < active:
            turn = self._line.popleft()
            if not turn.done():
                self.at_work += 1
                turn.set_result(None)

    @property
    def is_free(self) -> bool:
        """Return whether `take` would give a place."""
        return self.at_work < self._active and not self._line

    def take(self) -> bool:
        """Take a place if one is free and nobody waits."""
        if self.at_work < self._active and not self._line:
            self.at_work += 1
            return True
        return False

    def require_line(self) -> None:
        """Refuse one more to wait when nobody else may.

        Raises:
            RefusedError: 503, the line is full.
        """
        if len(self._line) + self.parked >= self._queued:
            raise _overloaded()

    async def wait(self, wait_s: float, *, has_waited: bool = False) -> None:
        """Wait for a place and take it; who `has_waited` for something else had a place in the line already.

        Raises:
            RefusedError: 503 when the line is full or the wait was longer than `wait_s`.
        """
        if not has_waited:
            self.require_line()
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The place came together with the end of the wait: it goes to the next.
                self.leave()
            elif turn in self._line:
                # Who gave a place back in the same turn of the loop has passed over it already.
                self._line.remove(turn)
            if isinstance(error, TimeoutError):
                raise _overloaded() from None
            raise

    def leave(self) -> None:
        """Give the place to whoever waits longest, or free it."""
        while self._line and self.at_work <= self._active:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.at_work -= 1


def _overloaded() -> RefusedError:
    return RefusedError(503, "too many requests at work; try again", code="overloaded", retry_after=retry_after(1.0))
