import asyncio

import pytest

pytestmark = pytest.mark.anyio


async def take(store, holder: str, now_s: float):
    return await store.leases.acquire("controller", holder, ttl_s=10.0, now_s=now_s)


async def test_the_first_holder_gets_epoch_one(store):
    lease = await take(store, "a", 100.0)
    assert (lease.epoch, lease.holder, lease.beat) == (1, "a", 0)
    assert await store.leases.read("controller") == lease


async def test_the_holder_renews_with_the_same_epoch_and_another_beat(store):
    await take(store, "a", 100.0)
    lease = await take(store, "a", 105.0)
    assert (lease.epoch, lease.beat, lease.renewed_at_s) == (1, 1, 105.0)


async def test_another_holder_waits_until_the_lease_has_expired(store):
    await take(store, "a", 100.0)
    assert await take(store, "b", 110.0) is None
    assert (await take(store, "b", 110.1)).epoch == 2


async def test_the_former_holder_does_not_get_it_back_by_renewing(store):
    await take(store, "a", 100.0)
    await take(store, "b", 111.0)
    assert await take(store, "a", 112.0) is None


async def test_a_holder_that_overslept_unnoticed_keeps_its_epoch(store):
    await take(store, "a", 100.0)
    assert (await take(store, "a", 200.0)).epoch == 1


async def test_a_released_lease_is_free_at_once_and_the_epoch_goes_on_rising(store):
    await take(store, "a", 100.0)
    await store.leases.release("controller", "a")
    assert (await take(store, "b", 100.5)).epoch == 2
    await store.leases.release("controller", "b")
    assert (await take(store, "b", 101.0)).epoch == 3


async def test_release_by_somebody_else_does_nothing(store):
    await take(store, "a", 100.0)
    await store.leases.release("controller", "b")
    assert await take(store, "b", 101.0) is None


async def test_of_many_candidates_at_once_one_leads(store):
    leases = await asyncio.gather(*(take(store, f"w{number}", 100.0) for number in range(10)))
    assert sum(lease is not None for lease in leases) == 1


async def test_leases_of_other_names_are_independent(store):
    await take(store, "a", 100.0)
    assert (await store.leases.acquire("sampler", "b", ttl_s=10.0, now_s=100.0)).epoch == 1
    assert await store.leases.read("unknown") is None
