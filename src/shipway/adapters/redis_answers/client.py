"""Calls to Redis that end in time: a cache or a memory that cannot be asked is left alone for a moment."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shipway.core.clock import Clock
from shipway.core.errors import UnavailableError

T = TypeVar("T")
_REST_S = 1.0


class RestingRedis:
    """A client that is not asked again for a second after it failed, so that no request waits for what is down."""

    def __init__(self, url: str, clock: Clock, *, timeout_s: float = 0.25) -> None:
        self._clock = clock
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, protocol=2, retry=None
        )
        self._resting_until_s = float("-inf")

    async def call(self, ask: Callable[[Redis], Awaitable[T]]) -> T:
        """Return what Redis answers.

        Raises:
            UnavailableError: it does not, or did not a moment ago.
        """
        now_s = self._clock.monotonic_s()
        if now_s < self._resting_until_s:
            raise UnavailableError("Redis did not answer a moment ago; it is left alone")
        try:
            return await ask(self._redis)
        except (RedisError, OSError, TimeoutError) as error:
            self._resting_until_s = now_s + _REST_S
            raise UnavailableError(f"Redis cannot be asked: {type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
