import pytest

from shipway.core.clock import ManualClock
from shipway.gateway.breaker import CircuitBreaker


def opened(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0, first_s=0.5)
    breaker.failed(breaker.generation)
    breaker.failed(breaker.generation)
    return breaker


def test_failures_in_a_row_open_it_and_it_says_for_how_long():
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(4.0)
    assert breaker.wait_s() == 6.0


def test_a_success_between_failures_keeps_it_closed():
    breaker = CircuitBreaker(ManualClock(), failures=2, open_s=10.0, first_s=0.5)
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
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0, first_s=0.5)
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
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0, first_s=0.5)
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
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0, first_s=0.5)
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


def gone(clock: ManualClock) -> CircuitBreaker:
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0, first_s=0.5)
    breaker.failed(breaker.generation, gone=True)
    breaker.failed(breaker.generation, gone=True)
    return breaker


def failed_probe(breaker: CircuitBreaker, clock: ManualClock, *, gone: bool) -> float:
    clock.advance(breaker.wait_s())
    assert breaker.wait_s() == 0.0
    breaker.failed(breaker.generation, gone=gone)
    return breaker.wait_s()


def test_an_engine_that_is_gone_is_probed_soon_and_then_after_twice_the_rest_up_to_the_longest():
    clock = ManualClock()
    breaker = gone(clock)
    assert (breaker.wait_s(), breaker.state) == (0.5, 2)
    assert [failed_probe(breaker, clock, gone=True) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_process_that_is_back_serves_after_the_first_short_rest():
    clock = ManualClock()
    breaker = gone(clock)
    clock.advance(0.5)
    assert (breaker.state, breaker.is_resting, breaker.wait_s()) == (1, False, 0.0)
    breaker.succeeded(breaker.generation)
    assert (breaker.state, breaker.wait_s()) == (0, 0.0)


def test_one_probe_at_a_time_goes_to_an_engine_that_is_gone_and_the_others_learn_its_short_rest():
    clock = ManualClock()
    breaker = gone(clock)
    clock.advance(0.5)
    assert breaker.wait_s() == 0.0
    assert (breaker.wait_s(), breaker.is_resting) == (0.5, True)


def test_after_a_success_the_next_rest_of_an_engine_that_is_gone_is_short_again():
    clock = ManualClock()
    breaker = gone(clock)
    failed_probe(breaker, clock, gone=True)
    clock.advance(1.0)
    breaker.wait_s()
    breaker.succeeded(breaker.generation)
    breaker.failed(breaker.generation, gone=True)
    breaker.failed(breaker.generation, gone=True)
    assert breaker.wait_s() == 0.5


def test_the_failure_that_opens_it_says_how_long_it_rests():
    clock = ManualClock()
    breaker = CircuitBreaker(clock, failures=2, open_s=10.0, first_s=0.5)
    breaker.failed(breaker.generation, gone=True)
    breaker.failed(breaker.generation)
    assert breaker.wait_s() == 10.0
    assert failed_probe(breaker, clock, gone=True) == 0.5
    assert failed_probe(breaker, clock, gone=False) == 10.0
    assert failed_probe(breaker, clock, gone=True) == 1.0


def test_no_rest_is_longer_than_the_longest():
    breaker = CircuitBreaker(ManualClock(), failures=1, open_s=0.2, first_s=0.5)
    breaker.failed(breaker.generation, gone=True)
    assert breaker.wait_s() == 0.2


def pair(clock: ManualClock) -> tuple[CircuitBreaker, CircuitBreaker]:
    """Return the breakers of two releases on one engine."""
    peers: list[CircuitBreaker] = []
    peers += [CircuitBreaker(clock, failures=3, open_s=10.0, first_s=0.5, peers=peers) for _ in range(2)]
    return peers[0], peers[1]


def told(breaker: CircuitBreaker, outcomes: str) -> None:
    for outcome in outcomes:
        settle = breaker.succeeded if outcome == "+" else breaker.failed
        settle(breaker.generation)


def test_a_release_that_is_served_well_does_not_rest_with_one_that_is_not():
    bad, good = pair(ManualClock())
    told(good, "++++++++-+++++++")
    told(bad, "---")
    assert (bad.state, good.state) == (2, 0)


def test_when_the_engine_fails_all_releases_rest_and_return_together():
    clock = ManualClock()
    first, second = pair(clock)
    # Half of everybody's calls fail; one of them is the first to see three in a row.
    told(second, "+-+-+-+-")
    told(first, "+-+-+---")
    assert (first.state, second.state) == (2, 2)
    clock.advance(10.0)
    assert (first.wait_s(), second.wait_s()) == (0.0, 0.0)
    told(second, "-")
    assert (first.wait_s(), second.wait_s()) == (10.0, 10.0)
    clock.advance(10.0)
    assert first.wait_s() == 0.0
    told(first, "+")
    assert (first.state, second.state) == (0, 0)
    assert second.wait_s() == 0.0


def test_what_opened_together_opens_apart_the_next_time():
    clock = ManualClock()
    first, second = pair(clock)
    told(second, "--")
    told(first, "---")
    clock.advance(10.0)
    assert first.wait_s() == 0.0
    told(first, "+")
    told(second, "+" * 16)
    told(first, "---")
    assert (first.state, second.state) == (2, 0)
