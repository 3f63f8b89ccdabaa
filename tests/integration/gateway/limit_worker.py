"""A gateway worker process of the tests, one of several on a port, with an engine of its own.

`python -m tests.integration.gateway.limit_worker KIND PLACE PORT`; serves until it is told to end.
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from tests.integration.gateway.conftest import QUICK, running

from shipway.adapters.memory.limits import MemoryLimits
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.config.sections.routes import Budgets, Rates
from shipway.core.clock import SystemClock
from shipway.gateway.model import ModelPrice
from shipway.gateway.quota_book import QuotaBook, QuotaRules

BUDGET_USD = 2.0
PRICE = ModelPrice(200.0, 0.0, 200.0)
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 15, "completion_tokens": 10},
}
COST_USD = 25 * 200.0 / 1_000_000
RULES = QuotaRules(
    Rates(per_key_min=1_000_000, tokens_per_min=1_000_000_000, concurrent_per_key=64), Budgets(daily_usd=BUDGET_USD)
)


def limits_of(kind: str, place: str) -> Any:
    clock = SystemClock()
    if kind == "shared":
        return SharedLimits(Path(place), clock, note=lambda *_args, **_fields: None, slots=1024)
    from shipway.adapters.redis_limits.limits import RedisLimits, RedisSettings, connected

    return RedisLimits(
        connected(place, 2.0), clock, RedisSettings(), note=lambda *_args, **_fields: None, uniform=lambda: 0.5
    )


async def main(kind: str, place: str, port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    limits = limits_of(kind, place)
    work = asyncio.ensure_future(limits.run())
    quotas = QuotaBook(limits, MemoryLimits(SystemClock()), RULES)
    settings = QUICK.__class__(**{**_fields(QUICK), "prices": {"tiny": PRICE}})
    async with running(settings, quotas=quotas, port=port, workers=4) as bench:
        bench.upstream.play(lambda wire: wire.json(REPLY))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await stop.wait()
        sys.stdout.write(f"{sum(record.status == 200 for record in bench.sink.records)}\n")
        sys.stdout.flush()
    while getattr(limits, "_commands", ()):
        await asyncio.sleep(0.001)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await limits.close()


def _fields(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
