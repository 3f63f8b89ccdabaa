import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shipway.core.clock import ManualClock
from shipway.gateway.hedging import Hedge, can_be_hedged
from shipway.gateway.model import RouteLimits
from shipway.gateway.ports import ChatRoute
from shipway.gateway.validate import Endpoint, ModelCall

pytestmark = pytest.mark.anyio


class Engine:
    """Plays calls in turn: each is a coroutine function; counts those begun and cancelled."""

    def __init__(self, *acts: Callable[[], Awaitable[str]]) -> None:
        self.acts = list(acts)
        self.begun = 0
        self.cancelled = 0

    async def __call__(self) -> str:
        self.begun += 1
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        try:
            return await act()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def quick() -> str:
    return "quick"


async def hangs() -> str:
    await asyncio.Event().wait()
    return "never"


async def fails() -> str:
    raise ValueError("no")


async def warm(share: float = 1.0) -> Hedge:
    hedge = Hedge(ManualClock(), share)
    for _ in range(40):
        await hedge.first(quick)
    return hedge


async def test_before_enough_answers_were_seen_nobody_is_asked_twice():
    engine = Engine(quick)
    assert await Hedge(ManualClock(), 1.0).first(engine) == "quick"
    assert engine.begun == 1


async def test_a_slow_first_try_is_overtaken_and_cancelled():
    engine = Engine(hangs, quick)
    assert await (await warm()).first(engine) == "quick"
    assert (engine.begun, engine.cancelled) == (2, 1)


async def test_a_failing_second_try_does_not_fail_the_first():
    gate = asyncio.Event()

    async def slow() -> str:
        await gate.wait()
        return "slow"

    async def fails_and_opens() -> str:
        gate.set()
        raise ValueError("no")

    assert await (await warm()).first(Engine(slow, fails_and_opens)) == "slow"


async def test_when_both_fail_the_failure_is_told():
    async def slow_failure() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await (await warm()).first(Engine(slow_failure, fails))


async def test_without_budget_the_first_try_is_waited_for():
    hedge = await warm(share=0.001)
    engine = Engine(hangs, quick)
    task = asyncio.ensure_future(hedge.first(engine))
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine.begun == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.cancelled == 1


async def test_a_caller_that_leaves_cancels_both_tries():
    engine = Engine(hangs)
    task = asyncio.ensure_future((await warm()).first(engine))
    while engine.begun < 2:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.cancelled == 2


@pytest.mark.parametrize(
    ("endpoint", "body", "hedged"),
    [
        (Endpoint.EMBEDDINGS, {"input": "x"}, True),
        (Endpoint.CHAT, {"temperature": 0, "max_tokens": 8}, True),
        (Endpoint.CHAT, {"temperature": 0}, False),
        (Endpoint.CHAT, {"temperature": 0.1, "max_tokens": 8}, False),
        (Endpoint.CHAT, {"max_tokens": 8}, False),
        (Endpoint.CHAT, {"temperature": 0, "max_tokens": 8, "tools": [{}]}, False),
        (Endpoint.CHAT, {"temperature": 0, "max_tokens": 900}, False),
    ],
)
def test_only_short_calls_whose_answer_is_determined_may_be_made_twice(endpoint, body: dict[str, Any], hedged):
    call = ModelCall(endpoint, "chat", body, stream=False, wants_usage=False, input_chars=1)
    assert can_be_hedged(call, ChatRoute("http://e/v1", "m", limits=RouteLimits()), 32) is hedged


async def test_hedges_that_were_sent_and_those_that_won_are_counted():
    counts = {"sent": 0, "won": 0}
    hedge = Hedge(ManualClock(), 1.0, counts)
    for _ in range(40):
        await hedge.first(quick)
    assert counts == {"sent": 0, "won": 0}
    await hedge.first(Engine(hangs, quick))
    assert counts == {"sent": 1, "won": 1}
    let_go = asyncio.Event()

    async def slowly() -> str:
        await let_go.wait()
        return "slow"

    async def lets_go() -> str:
        let_go.set()
        return await hangs()

    assert await hedge.first(Engine(slowly, lets_go)) == "slow"
    assert counts == {"sent": 2, "won": 1}
