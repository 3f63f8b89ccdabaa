import json

import anyio
import pytest

from shipway.core.errors import UnavailableError, UsageError
from shipway.evals.budget import Caps, Charge, Meter, Spent
from shipway.rag.answer import Generation
from shipway.services.judges.purse import SPENT_FILE, JudgePurse, MeteredGenerator, judge_spent

NAME = "judge:strict"
MESSAGES = [{"role": "user", "content": "x" * 36}]


class Model:
    """Answers when it is let; notes how many calls were in flight at once."""

    def __init__(self, error=None):
        self.let = anyio.Event()
        self.error, self.asked, self.in_flight, self.most = error, 0, 0, 0

    async def generate(self, messages, *, max_tokens, temperature, seed, stop):
        self.asked += 1
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        await self.let.wait()
        self.in_flight -= 1
        if self.error:
            raise self.error
        return Generation("ok", 10, 0, 5, "stop")


def made(tokens, model):
    purse = JudgePurse(NAME, Meter({NAME: Charge(1.0, 2.0, tokens_out=40)}, Caps(tokens=tokens)))
    return purse, MeteredGenerator(model, purse)


async def ask(generator):
    return await generator.generate(MESSAGES, max_tokens=40, temperature=0, seed=1, stop=())


async def test_calls_wait_for_those_in_flight_and_are_made_one_after_another_where_the_budget_is_small():
    model = Model()
    purse, generator = made(100, model)
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(ask, generator)
        await anyio.wait_all_tasks_blocked()
        assert model.in_flight == 2
        model.let.set()
    assert (model.asked, model.most) == (4, 2)
    assert purse.meter.judged == Spent(4, 40, 20, pytest.approx(80 / 1e6))
    assert not purse.is_used_up


async def test_a_call_that_does_not_fit_is_not_made_and_none_after_it():
    model = Model()
    model.let.set()
    purse, generator = made(60, model)
    await ask(generator)
    for _ in range(2):
        with pytest.raises(UsageError, match="the budget is used up"):
            await ask(generator)
    assert (purse.is_used_up, model.asked) == (True, 1)


async def test_a_call_that_fails_frees_what_was_reserved():
    model = Model(UnavailableError("away"))
    model.let.set()
    purse, generator = made(60, model)
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await ask(generator)
    assert (purse.meter.judged.tokens, purse.is_used_up) == (0, False)


async def test_what_was_taken_before_the_folder_was_there_is_written_into_it(tmp_path):
    model = Model()
    model.let.set()
    purse, generator = made(1000, model)
    await ask(generator)
    purse.keep_in(tmp_path)
    await ask(generator)
    with (tmp_path / SPENT_FILE).open("ab") as file:
        file.write(b'{"tokens_in": 3')
    assert judge_spent(tmp_path) == Spent(2, 20, 10, pytest.approx(40 / 1e6))
    assert len((tmp_path / SPENT_FILE).read_text().splitlines()) == 3


def test_a_judge_without_a_price_has_an_unknown_cost(tmp_path):
    (tmp_path / SPENT_FILE).write_text(json.dumps({"tokens_in": 1, "tokens_out": 1, "usd": None}) + "\n")
    assert judge_spent(tmp_path).usd is None
    assert judge_spent(tmp_path / "none") == Spent()
