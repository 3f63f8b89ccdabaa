import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from shipway.core.clock import ManualClock
from shipway.core.errors import DeadlineError
from shipway.gateway.attempts import EngineCalls
from shipway.gateway.model import GatewaySettings
from shipway.gateway.patience import Patience, Watch
from shipway.gateway.ports import (
    EngineAbsentError,
    EngineBrokenError,
    EngineConnectError,
    EngineLostError,
    EngineRequest,
)
from shipway.gateway.replies import RefusedError

REQUEST = EngineRequest("POST", "http://engine/v1")
SETTINGS = GatewaySettings(max_attempts=4, backoff_first_s=0.1, backoff_cap_s=0.3, breaker_failures=4)


class Reply:
    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b""

    def close(self) -> None:
        self.closed = True


class Engine:
    """Plays replies and errors in turn, the last one for ever."""

    def __init__(self, *acts: Reply | Exception) -> None:
        self.acts = list(acts)
        self.sent = 0

    async def send(self, _request: EngineRequest) -> Reply:
        self.sent += 1
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        if isinstance(act, Exception):
            raise act
        return act


def calls(engine: Engine, naps: list[float] | None = None, clock: ManualClock | None = None) -> EngineCalls:
    async def sleep(seconds: float) -> None:
        if naps is not None:
            naps.append(seconds)

    return EngineCalls(engine, SETTINGS, clock or ManualClock(), uniform=lambda: 1.0, sleep=sleep)


def patience() -> Patience:
    return Patience(Watch(), deadline_s=5.0, first_s=5.0, idle_s=5.0)


async def test_waits_double_up_to_the_cap_and_given_up_replies_are_closed():
    naps: list[float] = []
    first = Reply(503)
    engine = Engine(first, EngineConnectError("x"), Reply(504), Reply(200))
    reply = await calls(engine, naps).send("e", REQUEST)
    assert (reply.status, engine.sent, first.closed) == (200, 4, True)
    assert naps == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_what_another_try_cannot_better_is_returned_at_once(status):
    engine = Engine(Reply(status))
    assert (await calls(engine).send("e", REQUEST)).status == status
    assert engine.sent == 1


async def test_a_503_that_names_a_long_wait_is_returned_at_once():
    engine = Engine(Reply(503, retry_after="30"))
    await calls(engine).send("e", REQUEST)
    assert engine.sent == 1


async def test_what_cannot_be_replayed_is_sent_once():
    engine = Engine(EngineConnectError("x"))
    with pytest.raises(EngineConnectError):
        await calls(engine).send("e", REQUEST, replayable=False)
    assert engine.sent == 1


async def test_an_engine_that_keeps_failing_is_left_alone_then_probed():
    clock = ManualClock()
    engine = Engine(EngineBrokenError("x"))
    made = calls(engine, clock=clock)
    with pytest.raises(EngineBrokenError):
        await made.send("e", REQUEST)
    with pytest.raises(RefusedError) as caught:
        await made.send("e", REQUEST)
    assert (engine.sent, caught.value.retry_after) == (4, "10")
    engine.acts = [Reply(200)]
    clock.advance(10.0)
    async with made.reply("e", REQUEST, patience()) as reply:
        pass
    assert (reply.status, made.breaker("e").wait_s()) == (200, 0.0)


@pytest.mark.parametrize(
    ("error", "rest_s"),
    [(EngineAbsentError, 0.5), (EngineLostError, 0.5), (EngineConnectError, 10.0), (EngineBrokenError, 10.0)],
)
async def test_only_an_engine_whose_process_is_gone_is_left_alone_for_a_short_time(error, rest_s):
    made = calls(Engine(error("x")))
    with pytest.raises(error):
        await made.send("e", REQUEST)
    assert made.breaker("e").wait_s() == rest_s


@pytest.mark.parametrize(
    ("error", "rest_s"), [(EngineLostError, 0.5), (EngineBrokenError, 10.0), (DeadlineError, 10.0)]
)
async def test_replies_that_are_cut_when_their_process_ends_give_a_short_rest_too(error, rest_s):
    made = calls(Engine(Reply(200)))
    for _ in range(SETTINGS.breaker_failures):
        with pytest.raises(error):
            async with made.reply("e", REQUEST, patience()):
                raise error("x")
    assert made.breaker("e").wait_s() == rest_s


async def test_what_is_known_of_a_release_that_has_left_says_nothing_when_it_comes_back():
    engine = Engine(EngineBrokenError("x"))
    made, again, other = calls(engine), replace(REQUEST, release="rel_again"), replace(REQUEST, release="rel_other")
    for request in (again, other):
        with pytest.raises(EngineBrokenError):
            await made.send("e", request)
    made.forget("rel_again")
    assert made.breaker("e", "rel_other").wait_s() > 0
    engine.acts = [Reply(200)]
    assert (await made.send("e", again)).status == 200
    made.forget("rel_never")


async def test_engines_have_breakers_of_their_own():
    made = calls(Engine(EngineBrokenError("x")))
    with pytest.raises(EngineBrokenError):
        await made.send("one", REQUEST)
    assert made.breaker("two").wait_s() == 0.0


async def test_what_one_release_does_to_an_engine_turns_no_request_of_another_away():
    bad, good = replace(REQUEST, release="rel_bad"), replace(REQUEST, release="rel_good")
    engine = Engine(EngineBrokenError("x"))
    made = calls(engine)
    for _ in range(50):
        with pytest.raises((EngineBrokenError, RefusedError)):
            await made.send("e", bad)
    assert made.breaker("e", "rel_bad").wait_s() > 0
    # Neither its breaker nor its retries are used up: two passing failures are asked through.
    engine.acts = [Reply(503), Reply(503), Reply(200)]
    assert (await made.send("e", good)).status == 200
    assert made.breaker_states() == {"e": 2}


@pytest.mark.parametrize(("error", "counts"), [(EngineBrokenError, True), (DeadlineError, True), (KeyError, False)])
async def test_a_reply_that_ends_badly_counts_against_the_engine_only_when_it_is_its_fault(error, counts):
    reply = Reply(200)
    made = calls(Engine(reply))
    for _ in range(SETTINGS.breaker_failures):
        with pytest.raises(error):
            async with made.reply("e", REQUEST, patience()):
                raise error("x")
    assert (made.breaker("e").wait_s() > 0) == counts
    assert reply.closed


class HeldEngine:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.held: list[asyncio.Future[Reply]] = []

    async def send(self, _request: EngineRequest) -> Reply:
        self.held.append(asyncio.get_running_loop().create_future())
        return await self.held[-1]


async def test_an_old_calls_good_end_does_not_close_what_a_probe_is_still_to_decide():
    clock, engine = ManualClock(), HeldEngine()
    made = EngineCalls(engine, replace(SETTINGS, max_attempts=1, breaker_failures=1), clock, uniform=lambda: 1.0)

    async def call() -> int:
        async with made.reply("e", REQUEST, patience()) as reply:
            return reply.status

    old, broken = asyncio.create_task(call()), asyncio.create_task(call())
    await asyncio.sleep(0)
    engine.held[1].set_exception(EngineBrokenError("x"))
    with pytest.raises(EngineBrokenError):
        await broken
    clock.advance(10.0)
    probe = asyncio.create_task(call())
    await asyncio.sleep(0)
    engine.held[0].set_result(Reply(200))

    assert await old == 200
    with pytest.raises(RefusedError):
        await call()
    engine.held[2].set_exception(EngineBrokenError("x"))
    with pytest.raises(EngineBrokenError):
        await probe
    assert made.breaker("e").wait_s() == 10.0
