import asyncio

import pytest

from shipway.gateway.single_flight import Flights, Seat

pytestmark = pytest.mark.anyio


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def seated(flights: Flights[str], count: int, key: str = "k") -> list["asyncio.Task[str | Seat]"]:
    tasks = [asyncio.ensure_future(flights.join(key, wait_s=30)) for _ in range(count)]
    await settle()
    return tasks


async def test_the_first_leads_and_all_others_get_its_answer():
    flights: Flights[str] = Flights()
    tasks = await seated(flights, 50)

    assert tasks[0].result() is Seat.LEAD
    assert flights.waiting("k") == 49
    flights.landed("k", "answer")
    assert [await task for task in tasks[1:]] == ["answer"] * 49
    assert len(flights) == 0


async def test_other_keys_are_other_flights():
    flights: Flights[str] = Flights()

    assert await flights.join("a", wait_s=1) is Seat.LEAD
    assert await flights.join("b", wait_s=1) is Seat.LEAD


async def test_when_the_leaders_client_leaves_exactly_one_other_leads():
    flights: Flights[str] = Flights()
    tasks = await seated(flights, 4)
    flights.failed("k", gone=True)
    await settle()

    assert [task.done() for task in tasks] == [True, True, False, False]
    assert tasks[1].result() is Seat.LEAD
    flights.landed("k", "late")
    assert [await task for task in tasks[2:]] == ["late", "late"]


async def test_clients_that_leave_never_use_up_the_attempts():
    flights: Flights[str] = Flights(failures=2)
    tasks = await seated(flights, 6)
    for place in range(1, 5):
        flights.failed("k", gone=True)
        await settle()
        assert tasks[place].result() is Seat.LEAD
    flights.landed("k", "x")
    assert await tasks[5] == "x"


async def test_after_a_second_failure_nobody_waits_any_more():
    flights: Flights[str] = Flights(failures=2)
    tasks = await seated(flights, 5)
    flights.failed("k", gone=False)
    await settle()
    assert tasks[1].result() is Seat.LEAD
    flights.failed("k", gone=False)

    assert [await task for task in tasks[2:]] == [Seat.ALONE] * 3
    assert len(flights) == 0


async def test_an_answer_that_cannot_be_shared_sends_the_others_on_their_own():
    flights: Flights[str] = Flights()
    tasks = await seated(flights, 3)
    flights.landed("k", None)

    assert [await task for task in tasks[1:]] == [Seat.ALONE] * 2


async def test_who_waited_long_enough_goes_alone_and_the_flight_goes_on():
    flights: Flights[str] = Flights()
    await flights.join("k", wait_s=1)

    assert await flights.join("k", wait_s=0) is Seat.ALONE
    assert flights.waiting("k") == 0
    flights.landed("k", "fine")


async def test_a_waiting_client_that_leaves_is_forgotten():
    flights: Flights[str] = Flights()
    tasks = await seated(flights, 3)
    tasks[1].cancel()
    await settle()
    assert flights.waiting("k") == 1
    flights.landed("k", "x")
    assert await tasks[2] == "x"


async def test_the_lead_is_passed_on_when_the_one_told_to_lead_leaves_at_that_moment():
    flights: Flights[str] = Flights()
    tasks = await seated(flights, 3)
    flights.failed("k", gone=True)
    tasks[1].cancel()
    await settle()

    assert tasks[1].cancelled()
    assert tasks[2].result() is Seat.LEAD
    flights.landed("k", "x")


async def test_a_flight_without_anybody_ends():
    flights: Flights[str] = Flights()
    await flights.join("k", wait_s=1)
    flights.failed("k", gone=False)

    assert len(flights) == 0
    assert await flights.join("k", wait_s=1) is Seat.LEAD
