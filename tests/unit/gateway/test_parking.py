import asyncio

import pytest

from shipway.gateway.parking import ParkingLot
from shipway.gateway.places import Places
from shipway.gateway.replies import RefusedError

pytestmark = pytest.mark.anyio

LONG_S = 60.0


async def parked(lot: ParkingLot, places: Places, count: int) -> list[asyncio.Task[None]]:
    before = len(lot)
    tasks = [asyncio.ensure_future(lot.wait("chat", places, LONG_S)) for _ in range(count)]
    while len(lot) < before + count:
        await asyncio.sleep(0)
    return tasks


async def test_all_look_again_in_the_order_in_which_they_came():
    lot, places = ParkingLot(), Places(active=1, queued=3)
    order: list[int] = []
    tasks = await parked(lot, places, 3)
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda _task, number=number: order.append(number))

    lot.look_again()
    await asyncio.gather(*tasks)

    assert (order, len(lot), places.parked) == ([0, 1, 2], 0, 0)


async def test_parked_requests_take_places_in_the_line_but_none_at_work():
    lot, places = ParkingLot(), Places(active=1, queued=2)
    tasks = await parked(lot, places, 2)

    assert places.is_free
    with pytest.raises(RefusedError, match="too many requests"):
        await lot.wait("chat", places, LONG_S)
    assert places.take()
    with pytest.raises(RefusedError, match="too many requests"):
        await places.wait(LONG_S)

    lot.look_again()
    await asyncio.gather(*tasks)
    waiting = asyncio.ensure_future(places.wait(LONG_S))
    while not places.waiting:
        await asyncio.sleep(0)
    places.leave()
    await waiting


async def test_who_has_parked_before_keeps_its_place_though_the_line_is_full():
    lot, places = ParkingLot(), Places(active=0, queued=1)
    (first,) = await parked(lot, places, 1)

    lot.look_again()
    await first
    other = asyncio.ensure_future(places.wait(LONG_S))
    while not places.waiting:
        await asyncio.sleep(0)
    again = asyncio.ensure_future(lot.wait("chat", places, LONG_S, has_waited=True))
    while not len(lot):
        await asyncio.sleep(0)
    lot.look_again()
    await again
    line = asyncio.ensure_future(places.wait(LONG_S, has_waited=True))
    while places.waiting < 2:
        await asyncio.sleep(0)

    for task in (other, line):
        task.cancel()
    await asyncio.gather(other, line, return_exceptions=True)
    assert (places.waiting, places.parked) == (0, 0)


async def test_who_leaves_frees_its_place():
    lot, places = ParkingLot(), Places(active=1, queued=1)
    (task,) = await parked(lot, places, 1)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (len(lot), places.parked) == (0, 0)
    (next_one,) = await parked(lot, places, 1)
    lot.look_again()
    await next_one


@pytest.mark.parametrize("wait_s", [0.0, -1.0, 0.001])
async def test_the_wait_ends_with_a_503_that_says_when_to_come_back(wait_s):
    lot, places = ParkingLot(), Places(active=1, queued=1)

    with pytest.raises(RefusedError, match="'chat' is changing its release") as caught:
        await lot.wait("chat", places, wait_s)

    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "route_parked", "5")
    assert (len(lot), places.parked) == (0, 0)


async def test_nobody_is_woken_twice():
    lot, places = ParkingLot(), Places(active=1, queued=2)
    (task,) = await parked(lot, places, 1)

    lot.look_again()
    lot.look_again()
    task.cancel()
    lot.look_again()

    await asyncio.gather(task, return_exceptions=True)
    assert (len(lot), places.parked) == (0, 0)


async def test_a_closed_lot_refuses_who_waits_and_who_comes_later_but_not_who_was_let_go_before():
    lot, places = ParkingLot(), Places(active=1, queued=3)
    (let_go,) = await parked(lot, places, 1)
    lot.look_again()
    waiting = await parked(lot, places, 2)

    lot.close()
    await let_go
    for task in waiting:
        with pytest.raises(RefusedError) as caught:
            await task
        assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "route_parked", "5")
    with pytest.raises(RefusedError, match="try again"):
        await lot.wait("chat", places, LONG_S)
    assert (len(lot), places.parked) == (0, 0)


async def test_many_go_on_a_few_at_a_time_in_the_order_in_which_they_came():
    lot, places = ParkingLot(), Places(active=1, queued=30)
    order: list[int] = []
    tasks = await parked(lot, places, 30)
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda _task, number=number: order.append(number))

    lot.look_again()
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == [0, 1, 2, 3]
    # A further change in between neither holds them up nor wakes them all.
    lot.look_again()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(order) == 4
    await asyncio.gather(*tasks)
    assert order == list(range(30))
    assert (len(lot), places.parked) == (0, 0)


async def test_however_many_have_waited_the_last_of_them_goes_on_within_some_seconds():
    lot, places = ParkingLot(), Places(active=1, queued=2_000)
    tasks = await parked(lot, places, 2_000)
    lot.look_again()
    async with asyncio.timeout(30.0):
        await asyncio.gather(*tasks)


async def test_a_lot_that_closes_in_between_refuses_who_has_not_gone_on():
    lot, places = ParkingLot(), Places(active=1, queued=10)
    tasks = await parked(lot, places, 10)
    lot.look_again()
    lot.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, RefusedError) for result in results] == [False] * 4 + [True] * 6
    assert (len(lot), places.parked) == (0, 0)
