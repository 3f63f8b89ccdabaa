import asyncio

import pytest
from tests.unit.services.quality.observed import ENVIRONMENT, copy_of, observed, served, shadow

from shipway.adapters.memory.store import MemoryStore
from shipway.core.clock import ManualClock
from shipway.services.quality.pairs import CURSOR_KIND, PairObserver

pytestmark = pytest.mark.anyio
BAD = ("error", "timeout")


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await shadow(made)
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1010.0)


def observer(store: MemoryStore, clock: ManualClock) -> PairObserver:
    return PairObserver(store, clock, ENVIRONMENT)


@pytest.mark.parametrize(
    ("user", "copy", "value"),
    [
        ((), (), 0.0),
        ((), ("shadow", "error"), -1.0),
        (("timeout",), ("shadow",), 1.0),
        (("error",), ("shadow", "timeout"), 0.0),
        ((), ("shadow", "cached"), 0.0),
    ],
)
async def test_a_pair_is_the_copys_utility_less_the_users(store, clock, user, copy, value):
    await store.records.append([served("r1", events=user), copy_of("r1", events=copy)])
    assert await observer(store, clock).observe(BAD) == 1
    [item] = await observed(store)
    assert (item.kind, item.value) == ("pair", value)


async def test_a_pair_stands_where_the_user_stood_and_is_about_the_copys_release(store, clock):
    await store.records.append([served("r1"), copy_of("r1")])
    await observer(store, clock).observe(BAD)
    [item] = await observed(store)
    assert (item.id, item.release, item.record_id) == ("pair/r1.shadow", "rel_b", "r1.shadow")
    assert (item.rollout, item.conversation, item.candidate_weight) == ("rol_1", "of r1", 0.25)
    assert item.is_candidate


async def test_looking_again_or_from_another_process_observes_nothing_twice(store, clock):
    await store.records.append([record for n in range(20) for record in (served(f"r{n}"), copy_of(f"r{n}"))])
    observers = [observer(store, clock) for _ in range(3)]
    counts = await asyncio.gather(*(item.observe(BAD) for item in observers))
    assert sum(counts) == 20
    assert await observers[0].observe(BAD) == 0
    assert await observer(store, clock).observe(BAD) == 0
    assert len(await observed(store)) == 20


async def test_a_process_that_dies_between_observing_and_moving_on_leaves_one_observation(store, clock):
    await store.records.append([served("r1"), copy_of("r1")])
    await observer(store, clock).observe(BAD)
    await store.documents.delete(CURSOR_KIND, f"{ENVIRONMENT}/pairs")
    assert await observer(store, clock).observe(BAD) == 0
    assert len(await observed(store)) == 1


async def test_a_copy_waits_for_its_users_record_and_nothing_behind_it_is_lost(store, clock):
    await store.records.append([copy_of("late"), served("r2"), copy_of("r2")])
    watcher = observer(store, clock)
    assert await watcher.observe(BAD) == 0
    await store.records.append([served("late")])
    assert await watcher.observe(BAD) == 2


async def test_a_copy_without_a_user_is_given_up_and_the_rest_goes_on(store, clock):
    await store.records.append([copy_of("gone"), served("r2"), copy_of("r2")])
    clock.advance(120.0)
    assert await observer(store, clock).observe(BAD) == 1


async def test_copies_are_looked_for_while_there_is_a_shadow_and_for_a_while_after_it(store, clock):
    watcher = observer(store, clock)
    assert await watcher.is_due()
    await store.records.append([served("r1"), copy_of("r1")])
    await watcher.observe(BAD)
    await shadow(store, on=False)
    assert await watcher.is_due()
    assert await observer(store, clock).is_due()

    clock.advance(3600.0)
    assert not await watcher.is_due()
    assert not await observer(store, clock).is_due()


async def test_a_new_shadow_does_not_read_all_that_was_served_before_it(store, clock):
    await store.records.append([served("old"), copy_of("old")])
    await store.records.append([served(f"between{n}") for n in range(20_000)])
    assert await observer(store, clock).observe(BAD) == 0


async def test_more_records_than_a_page_are_all_read(store, clock):
    many = [record for n in range(2500) for record in (served(f"r{n}"), copy_of(f"r{n}"))]
    await store.records.append(many)
    assert await observer(store, clock).observe(BAD) == 2500
