"""Conversations in Redis, shared by all replicas; implements `gateway.memory.ConversationStore`.

One list for each conversation: adding, bounding and prolonging are one transaction.
"""

import orjson
from redis.asyncio import Redis

from shipway.adapters.redis_answers.client import RestingRedis
from shipway.gateway.memory import MemoryPolicy, Owner, Turn, kept


class RedisConversations:
    """Keys are `{prefix}{owner's key}`."""

    def __init__(self, redis: RestingRedis, *, prefix: str = "shipway:conversations:") -> None:
        self._redis = redis
        self._prefix = prefix

    async def recall(self, owner: Owner, policy: MemoryPolicy) -> tuple[Turn, ...]:
        """Return the turns, oldest first."""
        name = self._prefix + owner.key
        rows = await self._redis.call(lambda redis: redis.lrange(name, -policy.max_turns, -1))
        return kept([Turn(**orjson.loads(row)) for row in rows], policy)

    async def remember(self, owner: Owner, turn: Turn, policy: MemoryPolicy) -> None:
        """Add a turn; one that the policy would not keep drops all before it, as it does elsewhere."""
        name = self._prefix + owner.key
        row = orjson.dumps(turn.to_dict())
        fits = bool(kept([turn], policy))

        async def add(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as pipe:
                if fits:
                    pipe.rpush(name, row)
                    pipe.ltrim(name, -policy.max_turns, -1)
                    pipe.pexpire(name, max(1, int(policy.ttl_s * 1000)))
                else:
                    pipe.unlink(name)
                await pipe.execute()

        await self._redis.call(add)

    async def forget(self, owner: Owner) -> bool:
        """Drop a conversation."""
        name = self._prefix + owner.key
        return bool(await self._redis.call(lambda redis: redis.unlink(name)))

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.close()
