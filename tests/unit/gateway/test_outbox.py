"""What leaves together, and in which order."""

import asyncio
from typing import Any

import pytest

from shipway.gateway.outbox import Outbox, OutboxTransport

pytestmark = pytest.mark.anyio


class Line:
    """A transport that notes what it is told, as asyncio's do: no bytes once one direction is ended."""

    def __init__(self, told: list[tuple[str, Any]], name: str = "") -> None:
        self.told = told
        self.name = name
        self.ended = False
        self.closing = False

    def write(self, data: bytes) -> None:
        if self.ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        self.told.append((self.name, data))

    def write_eof(self) -> None:
        self.ended = True
        self.told.append((self.name, "eof"))

    def close(self) -> None:
        self.closing = True
        self.told.append((self.name, "close"))

    def abort(self) -> None:
        self.closing = True
        self.told.append((self.name, "abort"))

    def is_closing(self) -> bool:
        return self.closing


@pytest.fixture
def told() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def line(told):
    return Line(told)


def through(outbox: Outbox, line: Line) -> OutboxTransport:
    return OutboxTransport(line, outbox)  # type: ignore[arg-type]


async def test_nothing_leaves_before_the_turn_ends_and_all_of_it_then_in_order(told):
    outbox = Outbox()
    a, b = through(outbox, Line(told, "a")), through(outbox, Line(told, "b"))
    for wire, data in ((a, b"1"), (b, b"2"), (a, b"3"), (b, b"4")):
        wire.write(data)
    assert told == []
    await asyncio.sleep(0)
    assert told == [("a", b"1"), ("b", b"2"), ("a", b"3"), ("b", b"4")]
    a.write(b"5")
    await asyncio.sleep(0)
    assert told[-1] == ("a", b"5")


@pytest.mark.parametrize("how", ["write_eof", "close", "abort"])
async def test_what_ends_a_connection_comes_behind_everything_that_was_written(told, line, how):
    wire = through(Outbox(), line)
    wire.write(b"last words")
    getattr(wire, how)()
    assert told == [("", b"last words"), ("", how.removeprefix("write_"))]
    await asyncio.sleep(0)
    assert len(told) == 2


async def test_bytes_for_one_who_has_left_are_dropped(told, line):
    wire = through(Outbox(), line)
    wire.write(b"too late")
    line.closing = True
    await asyncio.sleep(0)
    assert told == []


async def test_a_connection_that_takes_nothing_does_not_cost_the_others_theirs(told, line):
    outbox = Outbox()
    caught: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: caught.append(context))
    line.ended = True
    through(outbox, line).write(b"nobody takes this")
    through(outbox, Line(told, "other")).write(b"mine")
    await asyncio.sleep(0)
    assert told == [("other", b"mine")]
    assert len(caught) == 1
    through(outbox, Line(told, "next")).write(b"and mine")
    await asyncio.sleep(0)
    assert told[-1] == ("next", b"and mine")


async def test_what_is_written_while_letters_leave_leaves_a_turn_later(told):
    outbox = Outbox()
    second = through(outbox, Line(told, "second"))

    class Answering(Line):
        def write(self, data: bytes) -> None:
            super().write(data)
            second.write(b"answer")

    through(outbox, Answering(told, "first")).write(b"ask")
    await asyncio.sleep(0)
    assert told == [("first", b"ask")]
    await asyncio.sleep(0)
    assert told[-1] == ("second", b"answer")


async def test_work_that_comes_first_is_done_once_a_turn_and_its_bytes_leave_with_the_others(told):
    outbox = Outbox()
    wire = through(outbox, Line(told))
    wire.write(b"early")

    def work() -> None:
        told.append(("", "worked"))
        wire.write(b"late")

    outbox.first(work)
    await asyncio.sleep(0)
    assert told == [("", "worked"), ("", b"early"), ("", b"late")]
    await asyncio.sleep(0)
    assert len(told) == 3


async def test_work_that_closes_a_connection_does_not_begin_again(told):
    outbox = Outbox()
    wire = through(outbox, Line(told))
    worked: list[bool] = []

    def work() -> None:
        if not worked:
            worked.append(True)
            wire.write(b"last")
            wire.close()

    outbox.first(work)
    await asyncio.sleep(0)
    assert told == [("", b"last"), ("", "close")]


async def test_work_that_fails_keeps_no_letter_back(told):
    outbox = Outbox()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context["message"]))
    outbox.first(lambda: 1 / 0)
    outbox.first(lambda: told.append(("", "worked")))
    through(outbox, Line(told)).write(b"sent")
    await asyncio.sleep(0)
    assert told == [("", "worked"), ("", b"sent")]
    assert complaints == ["work before sending that failed"]


async def test_what_leaves_at_once_takes_along_what_waits_in_order(told):
    outbox = Outbox()
    a, b = through(outbox, Line(told, "a")), through(outbox, Line(told, "b"))
    b.write(b"waits")
    outbox.first(lambda: told.append(("", "worked")))
    a.write_now(b"chunk")
    assert told == [("", "worked"), ("b", b"waits"), ("a", b"chunk")]
    b.write(b"another")
    await asyncio.sleep(0)
    assert told[3:] == [("b", b"another")]


async def test_work_that_sends_at_once_is_not_begun_again(told):
    outbox = Outbox()
    wire = through(outbox, Line(told))

    def work() -> None:
        told.append(("", "worked"))
        wire.write_now(b"last")

    wire.write(b"first")
    outbox.first(work)
    await asyncio.sleep(0)
    assert told == [("", "worked"), ("", b"first"), ("", b"last")]


async def test_nothing_leaves_at_once_to_one_who_has_left(told, line):
    line.closing = True
    through(Outbox(), line).write_now(b"too late")
    assert told == []
