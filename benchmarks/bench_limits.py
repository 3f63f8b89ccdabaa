"""Time what limits cost a request: one reserve and one settle, in each of the three ways to count.

`python benchmarks/bench_limits.py [--redis redis://127.0.0.1:6379/0] [--json FILE]`
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shipway.adapters.memory.limits import MemoryLimits
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.core.clock import SystemClock
from shipway.gateway.quota import Bucket, Excess, Measure

_REPEATS = 15
_REQUESTS = 20_000
_WIDE = 10**12
BUCKETS = [
    Bucket("acme/key/k/requests", "key", Measure.REQUESTS, 10**9, 1e12),
    Bucket("acme/key/k/tokens", "key", Measure.TOKENS, _WIDE, 1e14),
    Bucket("acme/tenant/daily_usd", "tenant", Measure.DAILY_USD, 1000 * _WIDE),
    Bucket("acme/tenant/requests", "tenant", Measure.REQUESTS, 10**9, 1e12),
    Bucket("acme/tenant/places", "tenant", Measure.PLACES, 10**6),
    Bucket("acme/tenant/monthly_usd", "tenant", Measure.MONTHLY_USD, 1000 * _WIDE),
]


def _note(event: str, **fields: object) -> None:
    del event, fields


def _timed(work: Callable[[], object]) -> dict[str, float]:
    """Return microseconds a request: the least and the middle of several rounds."""
    rounds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        for _ in range(_REQUESTS):
            work()
        rounds.append((time.perf_counter() - begin) / _REQUESTS * 1e6)
    return {"least_us": round(min(rounds), 2), "median_us": round(statistics.median(rounds), 2)}


def _direct(limits: Any, count: int) -> dict[str, float]:
    quota = limits.prepared(BUCKETS[:count])

    def work() -> None:
        limits.settle(limits.reserve_now(quota, 500, 1000), 300, 700)

    return _timed(work)


async def _redis(url: str, count: int, at_once: int) -> dict[str, float]:
    from shipway.adapters.redis_limits.limits import RedisLimits, RedisSettings, connected  # noqa: PLC0415

    limits = RedisLimits(connected(url, 5.0), SystemClock(), RedisSettings(), note=_note, uniform=lambda: 0.5)
    pump = asyncio.ensure_future(limits.run())
    quota = limits.prepared(BUCKETS[:count])
    each = 400

    async def client() -> None:
        for _ in range(each):
            found = await limits.reserve(quota, 500, 1000)
            if isinstance(found, Excess):
                raise SystemExit("the limits of this measurement are too low")
            limits.settle(found, 300, 700)

    await client()
    begin, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(at_once)))
    requests = each * at_once
    took = {
        "cpu_us": round((time.process_time() - cpu) / requests * 1e6, 1),
        "wall_us": round((time.perf_counter() - begin) / requests * 1e6, 1),
    }
    pump.cancel()
    await asyncio.gather(pump, return_exceptions=True)
    await limits.close()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        shared = SharedLimits(Path(folder), SystemClock(), note=_note)
        for count in (1, 3, 6):
            found[f"memory, {count} buckets"] = _direct(MemoryLimits(SystemClock()), count)
            found[f"shared, {count} buckets"] = _direct(shared, count)
    if chosen.redis:
        for at_once in (1, 32):
            found[f"redis, 3 buckets, {at_once} at once"] = asyncio.run(_redis(chosen.redis, 3, at_once))
    for name, figures in found.items():
        print(f"{name:32}", "  ".join(f"{key} {value}" for key, value in figures.items()))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
