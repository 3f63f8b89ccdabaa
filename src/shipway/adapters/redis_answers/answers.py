"""Answers of the cache in Redis, shared by all workers and replicas; implements `gateway.cache_model.AnswerStore`.

Expiry is Redis's own. Its size is bounded by Redis's `maxmemory` with the policy `allkeys-lru` (or `volatile-lru`
beside other data).
"""

from shipway.adapters.redis_answers.client import RestingRedis
from shipway.gateway.cache_model import CacheKey, StoredAnswer

_SCAN = 500


class RedisAnswers:
    """One key for each answer: `{prefix}{release}:{digest}`."""

    def __init__(
        self, redis: RestingRedis, *, prefix: str = "shipway:answers:", max_answer_bytes: int = 1 << 20
    ) -> None:
        self._redis = redis
        self._prefix = prefix
        self._max_answer_bytes = max_answer_bytes

    async def get(self, key: CacheKey) -> StoredAnswer | None:
        """Return an answer that has not expired; one that this version cannot read is none."""
        name = f"{self._prefix}{key}"
        data = await self._redis.call(lambda redis: redis.get(name))
        return StoredAnswer.from_bytes(data) if isinstance(data, bytes) else None

    async def put(self, key: CacheKey, answer: StoredAnswer, *, ttl_s: float) -> None:
        """Keep an answer for `ttl_s`."""
        if answer.size_bytes > self._max_answer_bytes:
            return
        name, data = f"{self._prefix}{key}", answer.to_bytes()
        await self._redis.call(lambda redis: redis.set(name, data, px=max(1, int(ttl_s * 1000))))

    async def forget(self, release: str) -> int:
        """Drop every answer of a release; answers of other releases are looked at but not touched."""
        dropped = 0
        cursor = 0
        pattern = f"{_literal(self._prefix + release)}:*"
        while True:
            at = cursor
            cursor, names = await self._redis.call(lambda redis: redis.scan(at, match=pattern, count=_SCAN))  # noqa: B023 - awaited at once
            if names:
                found = list(names)
                dropped += await self._redis.call(lambda redis: redis.unlink(*found))  # noqa: B023 - awaited at once
            if not cursor:
                return dropped

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()


def _literal(text: str) -> str:
    return "".join(f"\\{char}" if char in "*?[]\\^-" else char for char in text)
