import os

import pytest

from shipway.adapters.spool.turn import CollectorTurn
from shipway.core.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def turns(tmp_path, clock):
    made = [CollectorTurn(tmp_path / "spool" / "lock", clock, asleep_s=10.0) for _ in range(2)]
    yield made
    for turn in made:
        turn.give_up()


def test_of_two_one_has_the_turn_and_keeps_it(turns):
    first, second = turns
    assert [first.is_mine(), second.is_mine(), first.is_mine(), second.is_mine()] == [True, False, True, False]


def test_the_second_takes_over_when_the_first_gives_up(turns):
    first, second = turns
    first.is_mine()
    assert not second.is_mine()
    first.give_up()
    assert second.is_mine()
    assert not first.is_mine()


def test_a_holder_that_moves_is_waited_for_however_long_it_takes(turns, clock):
    first, second = turns
    for beat in range(100):
        assert first.is_mine()
        os.utime(first._path, (beat, beat))  # the file system's clock is coarse
        assert not second.is_mine()
        clock.advance(1.0)


def test_a_holder_that_sleeps_loses_its_turn_until_it_wakes_up(turns, clock):
    first, second = turns
    first.is_mine()
    os.utime(first._path, (1.0, 1.0))
    assert not second.is_mine()
    clock.advance(9.0)
    assert not second.is_mine()
    clock.advance(1.0)
    assert second.is_mine()
    assert first.is_mine()
    assert not second.is_mine()
