import pytest

from shipway.core.clock import ManualClock
from shipway.gateway.breaker import CircuitBreaker


def opened(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0)
    breaker.failed(breaker.generation)
    breaker.failed(breaker.generation)
    return breaker


def test_failures_in_a_row_open_it_and_it_says_for_how_long():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(4.0)
    assert breaker.wait_s() == 6.0


def test_a_success_between_failures_keeps_it_closed():
    breaker = CircuitBreaker(ManualClock(), failures=2, open_s=10.0)
    breaker.failed(breaker.generation)
    breaker.succeeded(breaker.generation)
    breaker.failed(breaker.generation)
    assert breaker.wait_s() == 0.0


def test_one_probe_is_let_through_and_its_success_closes():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() > 0.0
    breaker.succeeded(breaker.generation)
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() == 0.0


def test_a_failed_probe_opens_it_again():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.failed(breaker.generation)
    assert breaker.wait_s() == 10.0


def test_a_probe_whose_client_left_makes_room_for_another():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.abandoned(breaker.generation)
    assert breaker.wait_s() == 0.0


def test_calls_from_before_it_opened_neither_close_it_nor_prolong_its_rest():
    clock = ManualClock()
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0)
    before = breaker.generation
    breaker.failed(before)
    breaker.failed(before)
    clock.advance(4.0)
    breaker.succeeded(before)
    breaker.failed(before)
    assert breaker.wait_s() == 6.0


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "abandoned"])
def test_what_becomes_of_a_call_from_before_it_opened_does_not_stand_in_for_the_probe(outcome):
    clock = ManualClock()
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0)
    before = breaker.generation
    breaker.failed(before)
    breaker.failed(before)
    clock.advance(10.0)
    assert breaker.wait_s() == 0.0
    probe = breaker.generation

    getattr(breaker, outcome)(before)

    assert (breaker.state, breaker.is_resting, breaker.wait_s()) == (1, True, 10.0)
    breaker.succeeded(probe)
    assert (breaker.state, breaker.is_resting) == (0, False)


def test_a_probe_that_was_given_up_does_not_speak_for_the_next_one():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    given_up = breaker.generation
    breaker.abandoned(given_up)
    breaker.wait_s()

    breaker.succeeded(given_up)

    assert breaker.is_resting


def test_a_failure_from_before_it_opened_does_not_count_after_it_closed():
    clock = ManualClock()
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0)
    before = breaker.generation
    breaker.failed(before)
    breaker.failed(before)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.succeeded(breaker.generation)

    breaker.failed(before)
    breaker.failed(before)

    assert breaker.wait_s() == 0.0


def test_asking_whether_it_rests_admits_no_probe():
    clock = ManualClock()
    breaker = opened(clock)
    assert breaker.is_resting
    clock.advance(10.0)
    assert not breaker.is_resting
    assert breaker.wait_s() == 0.0
    assert breaker.is_resting
    breaker.succeeded(breaker.generation)
    assert not breaker.is_resting


def test_a_probe_that_was_given_up_and_then_blamed_opens_it_again():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.abandoned(breaker.generation)
    breaker.failed(breaker.generation)
    assert breaker.wait_s() == 10.0
