from shipway.core.clock import ManualClock
from shipway.gateway.breaker import CircuitBreaker


def opened(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0)
    breaker.failed()
    breaker.failed()
    return breaker


def test_failures_in_a_row_open_it_and_it_says_for_how_long():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(4.0)
    assert breaker.wait_s() == 6.0


def test_a_success_between_failures_keeps_it_closed():
    breaker = CircuitBreaker(ManualClock(), failures=2, open_s=10.0)
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert breaker.wait_s() == 0.0


def test_one_probe_is_let_through_and_its_success_closes():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() > 0.0
    breaker.succeeded()
    assert breaker.wait_s() == 0.0
    assert breaker.wait_s() == 0.0


def test_a_failed_probe_opens_it_again():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.failed()
    assert breaker.wait_s() == 10.0


def test_a_probe_whose_client_left_makes_room_for_another():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.abandoned()
    assert breaker.wait_s() == 0.0


def test_calls_from_before_it_opened_neither_close_it_nor_prolong_its_rest():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(4.0)
    breaker.succeeded()
    breaker.failed()
    assert breaker.wait_s() == 6.0


def test_asking_whether_it_rests_admits_no_probe():
    clock = ManualClock()
    breaker = opened(clock)
    assert breaker.is_resting
    clock.advance(10.0)
    assert not breaker.is_resting
    assert breaker.wait_s() == 0.0
    assert breaker.is_resting
    breaker.succeeded()
    assert not breaker.is_resting


def test_a_probe_that_was_given_up_and_then_blamed_opens_it_again():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(10.0)
    breaker.wait_s()
    breaker.abandoned()
    breaker.failed()
    assert breaker.wait_s() == 10.0
