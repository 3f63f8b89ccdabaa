"""Records that are written together, and who may answer when."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from shipway.core.errors import StoreError
from shipway.core.record import ServedRequest
from shipway.gateway.record_desk import RecordDesk

pytestmark = pytest.mark.anyio


RECORD = ServedRequest("r", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)  # noqa: FBT003


def record(number: int) -> ServedRequest:
    return replace(RECORD, id=f"req_{number}")


class Told:
    """A sink and the landings of its records; `told` has what happened in order."""

    has_room = True

    def __init__(self, refused: Sequence[str] = ()) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.refused = refused

    def append(self, record: ServedRequest) -> None:
        if record.id in self.refused:
            raise StoreError("no")
        self.told.append(("written", record.id))

    def append_all(self, records: Sequence[ServedRequest]) -> None:
        if any(record.id in self.refused for record in records):
            raise StoreError("not all")
        self.told.append(("written", *(record.id for record in records)))

    async def wait_for_room(self) -> None:
        return

    def acknowledged(self, record: ServedRequest, reply: bytes) -> None:
        self.told.append(("answered", record.id, reply))

    def unrecorded(self, error: Exception) -> None:
        self.told.append(("failed", str(error)))


async def test_a_turns_records_are_written_in_one_before_anybody_answers():
    world = Told()
    desk = RecordDesk(world)
    assert [desk.put(world, record(number), b"%d" % number) for number in range(3)] == [True, False, False]
    assert world.told == []
    desk.commit()
    assert world.told == [
        ("written", "req_0", "req_1", "req_2"),
        ("answered", "req_0", b"0"), ("answered", "req_1", b"1"), ("answered", "req_2", b"2"),
    ]  # fmt: skip
    desk.commit()
    assert len(world.told) == 4
    assert desk.put(world, record(3), b"")


async def test_a_record_that_cannot_be_written_costs_only_its_own_request_the_answer():
    world = Told(refused=["req_1"])
    desk = RecordDesk(world)
    for number in range(3):
        desk.put(world, record(number), b"")
    desk.commit()
    assert world.told == [
        ("written", "req_0"), ("answered", "req_0", b""), ("failed", "no"), ("written", "req_2"),
        ("answered", "req_2", b""),
    ]  # fmt: skip


async def test_a_client_that_cannot_be_answered_keeps_nobody_elses_answer():
    world, broken = Told(), Told()
    broken.acknowledged = lambda *_told: 1 / 0
    desk = RecordDesk(world)
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    desk.put(broken, record(0), b"")
    desk.put(world, record(1), b"")
    desk.commit()
    assert world.told == [("written", "req_0", "req_1"), ("answered", "req_1", b"")]
    assert [type(error) for error in complaints] == [ZeroDivisionError]
