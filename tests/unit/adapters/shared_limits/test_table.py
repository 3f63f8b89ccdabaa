import pytest
from tests.contract.limits.buckets import daily, monthly, places, requests, tokens

from shipway.adapters.memory.store import MemoryStore
from shipway.adapters.shared_limits.budgets import KIND, BudgetStore
from shipway.adapters.shared_limits.limits import SharedLimits
from shipway.adapters.shared_limits.table import LimitTable
from shipway.core.clock import ManualClock
from shipway.core.errors import StoreError
from shipway.gateway.ledger import Ledger, TableFullError
from shipway.gateway.quota import Excess, Measure

ALL = [requests("k", 10, 0.001), tokens("k", 1000, 0.001), places("k", 9), daily("t", 1000), monthly("t", 1000)]


def left(ledger: Ledger, quota) -> list[int]:
    return [standing.remaining for standing in ledger.standings(quota)]


@pytest.fixture
def note():
    noted: list[tuple[str, dict]] = []

    def write(event: str, **fields: object) -> None:
        noted.append((event, fields))

    write.noted = noted
    return write


def ledger_of(table: LimitTable, clock: ManualClock) -> Ledger:
    return Ledger(table.storage, clock, on_alert=lambda _alert: None)


def test_a_restarted_worker_finds_what_was_used_and_nothing_reserved(tmp_path):
    clock = ManualClock()
    table = LimitTable(tmp_path, slots=64)
    ledger = ledger_of(table, clock)
    quota = ledger.quota(ALL)
    ledger.settle(ledger.reserve(quota, 100, 100), 40, 30)
    ledger.reserve(quota, 500, 500)
    ledger.close()
    table.close()

    again = ledger_of(LimitTable(tmp_path, slots=64), clock)
    assert left(again, again.quota(ALL)) == [8, 960, 9, 970, 970]


def test_after_a_reboot_rates_start_anew_and_money_stays_spent(tmp_path):
    clock = ManualClock()
    clock.advance(5000.0)
    table = LimitTable(tmp_path, slots=64, boot_id="one")
    ledger = ledger_of(table, clock)
    quota = ledger.quota(ALL)
    ledger.settle(ledger.reserve(quota, 100, 100), 40, 30)
    ledger.reserve(quota, 500, 500)
    del table, ledger

    rebooted = ledger_of(LimitTable(tmp_path, slots=64, boot_id="two"), ManualClock(clock.now_s()))
    assert left(rebooted, rebooted.quota(ALL)) == [10, 1000, 9, 970, 970]


def test_giving_back_and_a_reboot_fill_only_what_is_counted_in(tmp_path):
    clock = ManualClock()
    table = LimitTable(tmp_path, boot_id="one")
    ledger = ledger_of(table, clock)
    ledger.reserve(ledger.quota(ALL), 100, 100)
    table.reclaim(table.column)
    assert left(ledger, ledger.quota(ALL)) == [9, 1000, 9, 1000, 1000]
    assert (tmp_path / "counters").stat().st_blocks * 512 < 400_000
    del table, ledger

    rebooted = LimitTable(tmp_path, boot_id="two")
    assert (tmp_path / "counters").stat().st_blocks * 512 < 400_000
    rebooted.close()


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 4096])
def test_a_damaged_file_is_started_anew(tmp_path, content):
    (tmp_path / "counters").write_bytes(content)
    ledger = ledger_of(LimitTable(tmp_path, slots=64), ManualClock())
    assert left(ledger, ledger.quota(ALL)) == [10, 1000, 9, 1000, 1000]


def test_two_workers_have_columns_of_their_own_and_a_third_takes_the_first_free_one(tmp_path):
    first, second = LimitTable(tmp_path, slots=64), LimitTable(tmp_path, slots=64)
    assert (first.column, second.column) == (0, 1)
    first.close()
    assert LimitTable(tmp_path, slots=64).column == 0


def test_an_update_that_its_worker_died_in_is_healed(tmp_path):
    clock = ManualClock()
    first, second = LimitTable(tmp_path, slots=64), LimitTable(tmp_path, slots=64)
    ledger = ledger_of(second, clock)
    quota = ledger.quota(ALL)
    reserved = quota.tokens[0][1]
    # Counted in total, but killed before it stood in the worker's own column.
    first.storage.cells[reserved] += 300.0
    assert left(ledger, quota)[1] == 700
    first.close()
    assert left(ledger, quota)[1] == 1000


def test_a_full_table_forgets_what_is_idle_and_nothing_else(tmp_path):
    clock = ManualClock()
    clock.advance(10.0)
    ledger = ledger_of(LimitTable(tmp_path, slots=8), clock)
    quotas = [ledger.quota([requests(f"k{number}", 1, 60.0)]) for number in range(8)]
    for quota in quotas[:7]:
        ledger.reserve(quota, 0, 0)
    extra = ledger.quota([places("extra", 1)])
    ledger.reserve(extra, 0, 0)
    with pytest.raises(TableFullError):
        ledger.quota([requests("more", 1, 60.0)])
    for quota in quotas[:7]:
        assert isinstance(ledger.reserve(quota, 0, 0), Excess)
    clock.advance(2.0)
    more = ledger.quota([requests("more", 1, 60.0)])
    assert not isinstance(ledger.reserve(more, 0, 0), Excess)
    # The place is still held: what is reserved is never forgotten.
    assert isinstance(ledger.reserve(extra, 0, 0), Excess)


async def test_budgets_outlive_the_table(tmp_path, note):
    store, clock = MemoryStore(), ManualClock()
    budgets = BudgetStore(store.documents, "local")
    limits = SharedLimits(tmp_path / "a", clock, note=note, budgets=budgets, slots=64)
    quota = limits.prepared(ALL)
    limits.settle(limits.reserve_now(quota, 0, 300), 0, 250)
    await limits.close()

    reread = BudgetStore(store.documents, "local")
    await reread.load()
    moved = SharedLimits(tmp_path / "b", clock, note=note, budgets=reread, slots=64)
    found = {item.bucket.measure: item.remaining for item in await moved.standings(moved.prepared(ALL))}
    assert (found[Measure.DAILY_USD], found[Measure.MONTHLY_USD]) == (750, 750)


async def test_yesterdays_money_is_not_todays(tmp_path, note):
    store, clock = MemoryStore(), ManualClock()
    limits = SharedLimits(tmp_path / "a", clock, note=note, budgets=BudgetStore(store.documents, "local"), slots=64)
    limits.settle(limits.reserve_now(limits.prepared(ALL), 0, 300), 0, 250)
    await limits.close()

    clock.advance(86_400.0)
    reread = BudgetStore(store.documents, "local")
    await reread.load()
    moved = SharedLimits(tmp_path / "b", clock, note=note, budgets=reread, slots=64)
    found = {item.bucket.measure: item.remaining for item in await moved.standings(moved.prepared(ALL))}
    assert (found[Measure.DAILY_USD], found[Measure.MONTHLY_USD]) == (1000, 750)


async def test_two_workers_stores_merge_to_the_larger_amount(tmp_path):
    store = MemoryStore()
    one, two = BudgetStore(store.documents, "local"), BudgetStore(store.documents, "local")
    await one.save([("a", 5, 100, 0), ("b", 5, 7, 1)])
    await two.save([("a", 5, 90, 0), ("c", 6, 1, 0)])
    await one.save([("a", 6, 2, 0)])
    body, _ = await store.documents.get(KIND, "local")
    assert body["spent"] == {"a": [6, 2, 0], "b": [5, 7, 1], "c": [6, 1, 0]}


class BrokenDocuments:
    async def get(self, kind, key):
        raise StoreError("the disk is full")


async def test_a_store_that_fails_is_one_note_and_tried_again(tmp_path, note):
    store = BudgetStore(BrokenDocuments(), "local")
    limits = SharedLimits(tmp_path, ManualClock(), note=note, budgets=store, slots=64)
    limits.settle(limits.reserve_now(limits.prepared(ALL), 0, 300), 0, 250)
    for _ in range(3):
        await limits.flush()
    assert [event for event, _ in note.noted] == ["budgets_not_saved"]
