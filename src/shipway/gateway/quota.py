"""Quotas: what a caller may use, and the port behind which it is counted.

`admission` reserves before a release is chosen, `accounting` settles the truth before the final byte. Below:
`adapters/memory` (one process), `adapters/shared_limits` (all workers of a host), `adapters/redis_limits` (replicas).
All of them pass `tests/contract/limits`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from shipway.core.errors import UnavailableError

NANO = 1_000_000_000
"""Money is counted in whole billionths of a dollar, so that sums are exact and nothing is left over when all is
settled."""
_MINUTE_S = 60.0


class Measure(StrEnum):
    """What a bucket counts.

    Requests and tokens drain by the minute (GCRA), places are given back, money starts again each UTC day or month.
    """

    REQUESTS = "requests"
    TOKENS = "tokens"
    PLACES = "concurrent requests"
    DAILY_USD = "daily_usd"
    MONTHLY_USD = "monthly_usd"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One counter with its limit.

    `name` is the same in every worker; `whose` reads "key", "tenant" or "address". `per_min` (requests, tokens) is how
    fast it drains; `capacity` is the burst of a rate, the places, or nano-dollars.
    """

    name: str
    whose: str
    measure: Measure
    capacity: int
    per_min: float = 0.0

    @property
    def step_s(self) -> float:
        """Return in how many seconds one unit drains."""
        return _MINUTE_S / self.per_min if self.per_min else 0.0


@dataclass(frozen=True, slots=True)
class Excess:
    """A request that may not pass, and why; no bucket has changed. `wait_s` is when it may be worth another try."""

    bucket: Bucket
    wait_s: float


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a bucket is used: `remaining` units now, all of them in `reset_s`."""

    bucket: Bucket
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A budget passed a mark for the first time in its period; `percent` is 80, 100 or 120.

    100 also stands for the first request that was refused for want of money.
    """

    bucket: Bucket
    percent: int
    spent_nano_usd: int


ALERT_PERCENTS = (80, 100, 120)


class LimitsLostError(UnavailableError):
    """The counters cannot be reached, so nobody knows whether the request may pass."""


class Limits(Protocol):
    """Counters that all who share them agree about."""

    def prepared(self, buckets: Sequence[Bucket]) -> Any:
        """Return what `reserve` takes for these buckets; kept by the caller, because preparing is slow."""
        ...

    async def reserve(self, quota: Any, tokens: int, nano_usd: int) -> Any:
        """Take a request, a place, tokens and money out of all buckets or out of none.

        Returns an Excess, or what `settle` or `release` must be given exactly once.

        Raises:
            LimitsLostError: the counters cannot be reached.
        """
        ...

    def settle(self, held: Any, tokens: int, nano_usd: int) -> None:
        """Replace what was reserved by what was used, and give the place back."""
        ...

    def release(self, held: Any) -> None:
        """Give everything back, the request too: it was turned away before anything was done for it."""
        ...

    async def standings(self, quota: Any) -> tuple[Standing, ...]:
        """Return how far each bucket is used."""
        ...


def nano_usd(usd: float) -> int:
    """Return nano-dollars, rounded up: what is rounded away is never spent."""
    return math.ceil(usd * NANO - 1e-6)
