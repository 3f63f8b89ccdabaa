"""The three ways to count, each as a world in which time moves only when told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.contract.limits.buckets import requests

from shipway.adapters.memory.limits import MemoryLimits
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.core.clock import ManualClock
from shipway.gateway.quota import BudgetAlert

_NOW = "redis.call('TIME')"
# Redis's clock in the tests is a key.
_TOLD = "{redis.call('GET', 'test:now'), 0}"


@dataclass
class World:
    """Counters, workers that count in them, the time, and what was noted."""

    kind: str
    clock: ManualClock
    open: Callable[[], Awaitable[Any]]
    tell_time: Callable[[], Awaitable[None]]
    alerts: list[BudgetAlert] = field(default_factory=list)

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.tell_time()

    async def set_back(self, seconds: float) -> None:
        """Turn the wall clock back; monotonic time goes on."""
        self.clock._now_s -= seconds
        await self.tell_time()

    async def settled(self, limits: Any) -> None:
        """Wait until what was settled has been counted."""
        while getattr(limits, "_commands", ()):
            await asyncio.sleep(0)
        if self.kind == "redis":
            await limits.standings(limits.prepared([requests("settled", 1, 1.0)]))


@pytest.fixture(params=["memory", "shared", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def world(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    clock = ManualClock()
    async with contextlib.AsyncExitStack() as stack:
        if kind == "redis":
            made = await _redis_world(request.getfixturevalue("redis_server").url, clock, stack, monkeypatch)
        else:
            made = _host_world(kind, clock, stack, tmp_path)
        yield made


def _host_world(kind: str, clock: ManualClock, stack: contextlib.AsyncExitStack, folder: Path) -> World:
    alerts: list[BudgetAlert] = []
    only: list[MemoryLimits] = []

    async def open_() -> Any:
        if kind == "memory":
            only[:] = only or [MemoryLimits(clock, on_alert=alerts.append)]
            return only[0]
        limits = SharedLimits(
            folder / "limits", clock, note=lambda *_args, **_fields: None, on_alert=alerts.append, slots=1024
        )
        stack.push_async_callback(limits.close)
        return limits

    async def told() -> None:
        return

    return World(kind, clock, open_, told, alerts)


async def _redis_world(
    url: str, clock: ManualClock, stack: contextlib.AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> World:
    from redis.asyncio import Redis

    from shipway.adapters.redis_limits import limits as module

    for name in ("RESERVE", "SETTLE", "LOOK", "RESET"):
        monkeypatch.setattr(module, name, getattr(module, name).replace(_NOW, _TOLD))
    plain = Redis.from_url(url)
    stack.push_async_callback(plain.aclose)
    await plain.flushall()
    alerts: list[BudgetAlert] = []

    async def told() -> None:
        await plain.set("test:now", repr(clock.now_s()))

    async def open_() -> Any:
        limits = module.RedisLimits(
            Redis.from_url(url),
            clock,
            module.RedisSettings(),
            note=lambda *_args, **_fields: None,
            uniform=lambda: 0.5,
            on_alert=alerts.append,
        )
        pump = asyncio.ensure_future(limits.run())

        async def close() -> None:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            await limits.close()

        stack.push_async_callback(close)
        return limits

    await told()
    return World("redis", clock, open_, told, alerts)
