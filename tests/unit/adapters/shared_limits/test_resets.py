"""A budget that was reset stays reset, whoever still knows what it had spent."""

import pytest
from tests.contract.limits.buckets import daily

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.shared_limits.budgets import BudgetStore
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.adapters.shared_limits.resets import ResetLog
from shipway.core.clock import ManualClock

DAY_S = 86_400.0
BUDGET = daily("t", 1000)

pytestmark = pytest.mark.anyio


@pytest.fixture
def host(tmp_path):
    """Opens workers of one host, which share a folder and a store."""
    documents, clock = MemoryStore().documents, ManualClock()
    made: list[SharedLimits] = []

    async def opened(folder: str = "limits") -> SharedLimits:
        path = tmp_path / folder
        budgets = BudgetStore(documents, "local", resets=ResetLog(path).read)
        await budgets.load()
        made.append(SharedLimits(path, clock, note=lambda *_args, **_fields: None, budgets=budgets, slots=1024))
        return made[-1]

    opened.clock = clock
    opened.documents = documents
    return opened


async def spend(limits: SharedLimits, amount: int) -> None:
    limits.settle(await limits.reserve(limits.prepared([BUDGET]), 0, amount), 0, amount)


async def left(limits: SharedLimits) -> int:
    (found,) = await limits.standings(limits.prepared([BUDGET]))
    return found.remaining


async def test_a_worker_that_has_read_the_old_amount_does_not_bring_it_back(host):
    one = await host()
    await spend(one, 900)
    await one.flush()
    idle = await host()
    command = await host()
    await command.reset([BUDGET])
    await command.close()

    # It sees the budget for the first time, with what it has read from the store before.
    assert await left(idle) == 1000
    await one.flush()
    await idle.flush()
    fresh = await host()
    assert await left(fresh) == 1000


async def test_a_save_from_before_a_reset_is_worth_less_than_one_from_after(host):
    one = await host()
    await spend(one, 900)
    before = list(one.ledger.budgets())
    late = BudgetStore(host.documents, "local", resets=dict)
    await (await host()).reset([BUDGET])
    await spend(one, 10)
    await late.save(before)
    await one.flush()

    # Another folder, as after the loss of this one: the store is all there is.
    assert await left(await host("elsewhere")) == 990


async def test_what_is_spent_after_a_reset_survives_the_loss_of_the_counters(host):
    one = await host()
    await spend(one, 900)
    await one.reset([BUDGET])
    await spend(one, 300)
    await one.close()
    other = await host("elsewhere")
    assert await left(other) == 700
    await spend(other, 100)
    await other.close()

    assert await left(await host("third")) == 600


async def test_the_next_day_is_a_day_like_any_other(host):
    one = await host()
    await spend(one, 900)
    await one.reset([BUDGET])
    host.clock.advance(DAY_S)
    await spend(one, 400)
    await one.close()

    assert await left(await host("elsewhere")) == 600


async def test_amounts_of_an_earlier_version_are_read(host):
    one = await host()
    await spend(one, 10)
    period = next(one.ledger.budgets())[1]
    await host.documents.put("budgets", "local", {"spent": {BUDGET.name: [period, 400, 0]}}, expected_version=0)

    assert await left(await host("elsewhere")) == 600
