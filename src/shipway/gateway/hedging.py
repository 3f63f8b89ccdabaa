"""A second try beside a slow first one, for calls that may be made twice: off by default. `gateway.routed` asks.

The second starts after the 95th percentile of recent answers, so about one call in twenty gets one, and never more
than the configured share. The slower one is cancelled: its connection is closed, and only the answer that is used is
charged.

Source: Dean & Barroso, "The Tail at Scale" (hedged requests).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from shipway.core.clock import Clock
from shipway.gateway.ports import ChatRoute
from shipway.gateway.retries import ExtraBudget, HedgeTimer
from shipway.gateway.validate import Endpoint, ModelCall

Result = TypeVar("Result")


class Hedge:
    """The hedges of one worker; `counts` takes how many were `sent` and how many of them `won`."""

    def __init__(self, clock: Clock, share: float, counts: dict[str, int] | None = None) -> None:
        self._clock = clock
        self._budget = ExtraBudget(clock, share, always=0)
        self._timer = HedgeTimer()
        self._counts = {"sent": 0, "won": 0} if counts is None else counts

    def inherit(self, before: "Hedge") -> None:
        """Go on with the answer times that another hedge has seen."""
        self._timer = before._timer  # noqa: SLF001 - another of its own kind

    async def first(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Return what the faster of at most two calls returns; a call that fails waits for the other one."""
        self._budget.request()
        started_s = self._clock.monotonic_s()
        result = await self._faster(call)
        self._timer.observe(self._clock.monotonic_s() - started_s)
        return result

    async def _faster(self, call: Callable[[], Awaitable[Result]]) -> Result:
        delay_s = self._timer.delay_s
        if delay_s is None:
            return await call()
        first = asyncio.ensure_future(call())
        tasks = {first}
        try:
            done, _ = await asyncio.wait(tasks, timeout=delay_s)
            if not done and self._budget.take():
                tasks.add(asyncio.ensure_future(call()))
                self._counts["sent"] += 1
            used = await _first_good(tasks)
            self._counts["won"] += used is not first
            return used.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _first_good(tasks: "Collection[asyncio.Future[Result]]") -> "asyncio.Future[Result]":
    left = set(tasks)
    while True:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        good = [task for task in done if not task.cancelled() and task.exception() is None]
        if good or not left:
            return (good or list(done))[0]


def can_be_hedged(call: ModelCall, route: ChatRoute, max_tokens: int) -> bool:
    """Return whether a call may be made twice: embeddings, or a short whole answer at temperature 0 without tools."""
    if call.stream:
        return False
    if call.endpoint is Endpoint.EMBEDDINGS:
        return True
    body = call.body
    limits: list[Any] = [body.get("max_completion_tokens"), body.get("max_tokens"), route.limits.max_output_tokens]
    asked = next((limit for limit in limits if limit is not None), None)
    temperature = body.get("temperature", route.decoding.get("temperature"))
    return asked is not None and asked <= max_tokens and temperature == 0 and not body.get("tools")
