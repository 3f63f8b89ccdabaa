import asyncio

import pytest

from shipway.gateway.places import Places
from shipway.gateway.replies import RefusedError

pytestmark = pytest.mark.anyio


async def waiting(places: Places, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.ensure_future(places.wait(5.0)) for _ in range(count)]
    while places.waiting < count:
        await asyncio.sleep(0)
    return tasks


async def test_more_places_let_those_in_who_wait_longest():
    places = Places(active=1, queued=3)
    assert places.take()
    tasks = await waiting(places, 3)

    places.resize(active=3, queued=3)
    await asyncio.gather(*tasks[:2])

    assert (places.at_work, places.waiting, tasks[2].done()) == (3, 1, False)
    places.leave()
    await tasks[2]


async def test_fewer_places_send_nobody_away_and_let_nobody_in_before_enough_have_left():
    places = Places(active=3, queued=3)
    assert all(places.take() for _ in range(3))
    (task,) = await waiting(places, 1)

    places.resize(active=1, queued=3)
    places.leave()
    places.leave()
    await asyncio.sleep(0)
    assert (places.at_work, task.done()) == (1, False)

    places.leave()
    await task
    assert (places.at_work, places.waiting) == (1, 0)


async def test_a_shorter_line_keeps_those_who_stand_in_it():
    places = Places(active=1, queued=2)
    assert places.take()
    tasks = await waiting(places, 2)

    places.resize(active=1, queued=1)
    with pytest.raises(RefusedError, match="too many requests"):
        await places.wait(1.0)

    for task in tasks:
        places.leave()
        await task


async def test_one_who_leaves_the_line_just_as_a_place_comes_free_is_passed_over():
    places = Places(active=1, queued=2)
    assert places.take()
    first, second = await waiting(places, 2)

    first.cancel()
    places.leave()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert (places.at_work, places.waiting) == (1, 0)
