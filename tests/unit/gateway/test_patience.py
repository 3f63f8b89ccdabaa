"""The watch over all calls of a worker."""

import asyncio
from typing import Any

import pytest

from shipway.gateway.patience import Watch

pytestmark = pytest.mark.anyio


class Call:
    """Notes when its time is over, or fails then."""

    def __init__(self, *, fails: bool = False, in_s: float = 0.0) -> None:
        self.wake_s = asyncio.get_running_loop().time() + in_s
        self.over = asyncio.Event()
        self._fails = fails

    def expire(self) -> None:
        self.over.set()
        if self._fails:
            raise RuntimeError("cannot be ended")


async def test_a_call_that_cannot_be_ended_leaves_the_others_their_watch():
    caught: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: caught.append(context))
    watch, bad = Watch(), Call(fails=True)
    good, later = Call(in_s=0.03), Call(in_s=0.03)
    watch.add(bad)
    watch.add(good)
    async with asyncio.timeout(5):
        await bad.over.wait()
        await good.over.wait()
        watch.add(later)
        await later.over.wait()
    assert len(caught) == 1


async def test_a_call_that_has_ended_is_not_ended_again():
    watch, call, other = Watch(), Call(in_s=0.03), Call(in_s=0.05)
    watch.add(call)
    watch.add(other)
    watch.discard(call)
    async with asyncio.timeout(5):
        await other.over.wait()
    assert not call.over.is_set()


async def test_each_of_many_calls_is_ended_and_those_with_time_left_are_not():
    watch = Watch()
    over = [Call() for _ in range(1000)]
    left = [Call(in_s=60) for _ in range(1000)]
    for pair in zip(over, left, strict=True):
        for call in pair:
            watch.add(call)
    async with asyncio.timeout(5):
        for call in over:
            await call.over.wait()
    assert not any(call.over.is_set() for call in left)
