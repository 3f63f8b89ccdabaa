import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.core.errors import RateLimitedError, UnavailableError
from shipway.rag.answer import Generation
from shipway.services.quality.purse import DailyPurse, PursedGenerator, PursedParts

pytestmark = pytest.mark.anyio


def purse(budget: int, store: MemoryStore | None = None, clock: ManualClock | None = None) -> DailyPurse:
    return DailyPurse((store or MemoryStore()).documents, clock or ManualClock(), "e", budget)


class Model:
    def __init__(self, answer: Generation | Exception) -> None:
        self.answer = answer
        self.asked = 0

    async def generate(self, messages, *, max_tokens, temperature, seed, stop) -> Generation:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def ask(generator: PursedGenerator, text: str = "é" * 10) -> Generation:
    return await generator.generate([{"role": "user", "content": text}], max_tokens=50, temperature=0, seed=1, stop=())


async def test_what_a_call_did_not_take_is_given_back():
    own = purse(200)
    await ask(PursedGenerator(Model(Generation("x", 12, 0, 3, "stop")), own))
    assert await own.taken() == 15


async def test_a_call_that_might_not_fit_is_not_made():
    # 20 bytes, 16 for the message and 50 for the reply.
    model, own = Model(Generation("x", 12, 0, 3, "stop")), purse(85)
    with pytest.raises(RateLimitedError, match="used up"):
        await ask(PursedGenerator(model, own))
    assert (model.asked, await own.taken()) == (0, 0)
    await ask(PursedGenerator(model, purse(86)))
    assert model.asked == 1


async def test_a_call_that_fails_or_a_process_that_dies_counts_as_if_it_had_taken_all():
    own = purse(200)
    with pytest.raises(UnavailableError):
        await ask(PursedGenerator(Model(UnavailableError("gone")), own))
    assert await own.taken() == 86
    await own.reserve(100)
    with pytest.raises(RateLimitedError):
        await own.reserve(15)


async def test_a_new_day_has_a_new_budget_and_a_late_settlement_counts_for_its_own():
    clock = ManualClock(1_750_000_000.0)
    own = purse(100, clock=clock)
    ticket = await own.reserve(100)
    clock.advance(86_400.0)
    assert await own.taken() == 0
    await own.settle(ticket, 10)
    assert await own.taken() == 0
    await own.reserve(100)


async def test_the_refusal_says_when_there_will_be_tokens_again():
    clock = ManualClock(1_750_000_000.0)
    with pytest.raises(RateLimitedError) as refused:
        await purse(10, clock=clock).reserve(11)
    clock.advance(refused.value.retry_after_s)
    assert clock.now_s() % 86_400.0 == 0.0


@given(st.lists(st.tuples(st.integers(0, 60), st.floats(0, 1)), max_size=30))
def test_whatever_is_asked_at_once_the_budget_holds(calls):
    async def run() -> None:
        store = MemoryStore()
        own = [purse(100, store) for _ in range(3)]

        async def one(number: int, wanted: int, share: float) -> int:
            try:
                ticket = await own[number % 3].reserve(wanted)
            except RateLimitedError:
                return 0
            assert await own[0].taken() <= 100
            await asyncio.sleep(0)
            used = int(share * wanted)
            await own[number % 3].settle(ticket, used)
            return used

        used = await asyncio.gather(*(one(number, *call) for number, call in enumerate(calls)))
        assert await own[0].taken() == sum(used) <= 100

    asyncio.run(run())


async def test_the_models_of_a_judge_are_opened_around_the_purse():
    model = Model(Generation("x", 1, 0, 1, "stop"))

    class Parts:
        async def embedder(self):
            return "embedder"

        async def reranker(self):
            return "reranker"

        @asynccontextmanager
        async def generator(self, alias, timeout_s):
            assert (alias, timeout_s) == ("judge", 5.0)
            yield model

    own = purse(0)
    parts = PursedParts(Parts(), own)
    assert (await parts.embedder(), await parts.reranker()) == ("embedder", "reranker")
    async with parts.generator("judge", 5.0) as found:
        with pytest.raises(RateLimitedError):
            await ask(found)
