"""A worker process of the tests: takes as much as it can get, or holds what it got until it is killed.

`python -m tests.contract.limits.hammer KIND PLACE ACTION COUNT`; prints one JSON object.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.core.clock import SystemClock
from shipway.gateway.quota import Bucket, Excess, Measure

CAPACITY = 700
BUCKETS = [
    Bucket("acme/key/k/requests", "key", Measure.REQUESTS, CAPACITY, 1e-6),
    Bucket("acme/key/k/tokens", "key", Measure.TOKENS, 10 * CAPACITY, 1e-6),
    Bucket("acme/key/k/places", "key", Measure.PLACES, 5),
    Bucket("acme/tenant/daily_usd", "tenant", Measure.DAILY_USD, 100 * CAPACITY - 1),
]
"""Money is what runs out first: for one request less than the others would allow."""


async def opened(kind: str, place: str) -> tuple[Any, list[asyncio.Task[None]]]:
    clock = SystemClock()
    if kind == "shared":
        return SharedLimits(Path(place), clock, note=lambda *_args, **_fields: None, slots=1024), []
    from redis.asyncio import Redis

    from shipway.adapters.redis_limits.limits import RedisLimits, RedisSettings

    limits = RedisLimits(
        Redis.from_url(place),
        clock,
        RedisSettings(hold_s=1.0 if "hold" in sys.argv else 60.0),
        note=lambda *_args, **_fields: None,
        uniform=lambda: 0.5,
    )
    return limits, [asyncio.ensure_future(limits.run())]


async def take_all(limits: Any, count: int) -> dict[str, int]:
    quota = limits.prepared(BUCKETS)
    passed = refused = busy = 0
    for _ in range(count):
        found = await limits.reserve(quota, 12, 120)
        if isinstance(found, Excess):
            busy += found.bucket.measure is Measure.PLACES
            refused += 1
            await asyncio.sleep(0.0005 if found.bucket.measure is Measure.PLACES else 0)
            continue
        await asyncio.sleep(0)
        limits.settle(found, 10, 100)
        passed += 1
    return {"passed": passed, "refused": refused, "busy": busy}


def say(found: dict[str, int]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def main(kind: str, place: str, action: str, count: int) -> None:
    limits, tasks = await opened(kind, place)
    if action == "hold":
        quota = limits.prepared(BUCKETS)
        held = [await limits.reserve(quota, 12, 120) for _ in range(count)]
        say({"held": sum(not isinstance(found, Excess) for found in held)})
        await asyncio.sleep(60.0)
    say(await take_all(limits, count))
    while getattr(limits, "_commands", ()):
        await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await limits.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
