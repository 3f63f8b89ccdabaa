"""Equal requests at the same time make one call: the first leads, the others wait for what it brings. Used by `cache`.

A leader that fails or whose client leaves never fails those who wait: the next one leads. After a second failure the
others stop waiting for each other, so that a broken engine costs nobody more than two attempts' time.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Seat(Enum):
    """What a request must do: `LEAD` asks the engine and reports, `ALONE` asks it and reports to nobody."""

    LEAD = "lead"
    ALONE = "alone"


@dataclass(slots=True)
class _Flight(Generic[T]):
    waiting: "deque[asyncio.Future[T | Seat]]" = field(default_factory=deque)
    failures: int = 0


class Flights(Generic[T]):
    """The flights of one worker. Whoever gets `Seat.LEAD` must call `landed` or `failed`, once, whatever happens."""

    def __init__(self, *, failures: int = 2) -> None:
        self._failures = failures
        self._flights: dict[Hashable, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def waiting(self, key: Hashable) -> int:
        """Return how many wait for a flight."""
        flight = self._flights.get(key)
        return len(flight.waiting) if flight else 0

    async def join(self, key: Hashable, *, wait_s: float) -> T | Seat:
        """Return the leader's answer, or what to do instead of waiting for one."""
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = _Flight()
            return Seat.LEAD
        place: asyncio.Future[T | Seat] = asyncio.get_running_loop().create_future()
        flight.waiting.append(place)
        try:
            await asyncio.wait({place}, timeout=wait_s)
        except asyncio.CancelledError:
            self._leave(key, flight, place)
            raise
        if not place.done():
            flight.waiting.remove(place)
            return Seat.ALONE
        return place.result()

    def landed(self, key: Hashable, answer: T | None) -> None:
        """End a flight; with None there is no answer to share, so those who wait ask for themselves."""
        self._end(key, Seat.ALONE if answer is None else answer)

    def failed(self, key: Hashable, *, gone: bool) -> None:
        """End the leader's part; `gone` says that its client left, which tells nothing about the engine."""
        flight = self._flights[key]
        flight.failures += not gone
        if flight.failures >= self._failures:
            self._end(key, Seat.ALONE)
        elif flight.waiting:
            flight.waiting.popleft().set_result(Seat.LEAD)
        else:
            del self._flights[key]

    def _leave(self, key: Hashable, flight: _Flight[T], place: "asyncio.Future[T | Seat]") -> None:
        if not place.done():
            flight.waiting.remove(place)
        elif place.result() is Seat.LEAD:
            # It was told to lead in the very moment in which its client left.
            self.failed(key, gone=True)

    def _end(self, key: Hashable, outcome: T | Seat) -> None:
        for place in self._flights.pop(key).waiting:
            place.set_result(outcome)
