"""Where requests of a route wait while nobody may serve it: a rollout exchanges its processes in place.

When it may be served again they go on a few at a time: a process that has just started may listen with room for five
connections (Python's own server does), and would break off what comes at once beyond them.

`gateway.admission` sends them here, `gateway.serving` lets them look again whenever the snapshot has changed. They have
no place at work meanwhile, so they hold nobody else up, but each has a place in the line: together they are bounded as
those are that wait for work.
"""

import asyncio
from collections import deque

from shipway.gateway.places import Places
from shipway.gateway.replies import RefusedError, retry_after

PARKED = "parked"
"""The event of a request that waited here. Its times are the release's alone: they begin when the wait was over."""
_RETRY_S = 5.0
_AT_ONCE = 4
_PAUSE_S = 0.02
_MOST_PAUSES = 100
"""However many have waited, the last of them goes on after two seconds."""


class ParkingLot:
    """The requests of one worker that wait for their route."""

    def __init__(self) -> None:
        # A turn is True when something has changed, False when nobody may wait any more.
        self._parked: dict[asyncio.Future[bool], None] = {}
        self._closed = False
        self._due: deque[asyncio.Future[bool]] = deque()
        self._size = _AT_ONCE
        self._next: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._parked)

    def look_again(self) -> None:
        """Let all of them see what holds, in the order in which they came, a few at a time."""
        self._due = deque(self._parked)
        self._size = max(_AT_ONCE, -(-len(self._due) // _MOST_PAUSES))
        if self._next is None:
            self._go_on()

    def close(self) -> None:
        """Refuse all of them and whoever would wait from now on: this worker ends."""
        self._closed = True
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for turn in self._parked:
            self._end(turn, changed=False)
        self._parked.clear()

    async def wait(self, route: str, places: Places, wait_s: float, *, has_waited: bool = False) -> None:
        """Wait until something has changed; who `has_waited` already comes back to its place.

        Raises:
            RefusedError: 503 when the line is full, the wait was longer than `wait_s` or this worker ends.
        """
        if self._closed:
            raise _still_parked(route)
        if wait_s <= 0:
            raise _still_parked(route)
        if not has_waited:
            places.require_line()
        turn = asyncio.get_running_loop().create_future()
        self._parked[turn] = None
        places.parked += 1
        try:
            async with asyncio.timeout(wait_s):
                changed = await turn
        except TimeoutError:
            raise _still_parked(route) from None
        finally:
            places.parked -= 1
            self._parked.pop(turn, None)
        if not changed:
            raise _still_parked(route)

    def _go_on(self) -> None:
        self._next = None
        left = self._size
        while left and self._due:
            turn = self._due.popleft()
            if turn in self._parked:
                del self._parked[turn]
                self._end(turn, changed=True)
                left -= 1
        if self._due:
            self._next = asyncio.get_running_loop().call_later(_PAUSE_S, self._go_on)

    @staticmethod
    def _end(turn: asyncio.Future[bool], *, changed: bool) -> None:
        if not turn.done():
            turn.set_result(changed)


def _still_parked(route: str) -> RefusedError:
    message = f"the route {route!r} is changing its release and cannot serve yet; try again"
    return RefusedError(503, message, code="route_parked", retry_after=retry_after(_RETRY_S))
