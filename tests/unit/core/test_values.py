from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from shipway.core.clock import ManualClock, SystemClock
from shipway.core.errors import ConfigError, GateRefusedError, NotFoundError, RateLimitedError, ShipwayError
from shipway.core.ids import ulid
from shipway.core.record import ServedRequest
from shipway.core.verdicts import Verdict, combined


@given(st.floats(0, 2**40), st.floats(0, 2**40))
def test_ids_sort_by_time(one, two):
    early, late = sorted((one, two))

    first, second = ulid(early, lambda bits: 2**bits - 1), ulid(late, lambda bits: 0)

    assert len(first) == 26
    assert first < second or int(early * 1000) == int(late * 1000)


def test_an_id_is_the_one_of_the_specification():
    assert ulid(1469918176.385, lambda bits: 0) == "01ARYZ6S410000000000000000"


def test_a_whole_is_as_bad_as_its_worst_part():
    order = [Verdict.ERROR, Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.PASS]

    for first, second in permutations(order, 2):
        assert combined([first, second]) == min(first, second, key=order.index)
    assert combined([]) is Verdict.NO_DATA
    assert combined(verdict for verdict in [Verdict.PASS, Verdict.PASS]) is Verdict.PASS


def test_an_error_shows_its_hint_on_a_line_of_its_own():
    assert str(NotFoundError("no release 'x'", hint="look")) == "no release 'x'\n  look"
    assert str(ConfigError(["a:1: x", "b:2: y"])) == "a:1: x\nb:2: y"
    assert GateRefusedError(Verdict.FAIL, "no").verdict is Verdict.FAIL
    assert RateLimitedError("slow down", retry_after_s=2.0).retryable
    assert not ShipwayError("x").retryable


def test_a_record_survives_its_json_form_and_ignores_what_a_newer_writer_adds():
    record = ServedRequest(
        *("id", 1.0, "local", "ask", "rel_1", False, 0.1, None, 3, "c", "header", "t", "key_1", 200, 12.5),
        events=("error",),
    )

    assert ServedRequest.from_dict(record.to_dict() | {"events": ["error"], "colour": "red"}) == record


def test_a_manual_clock_moves_only_when_told():
    clock = ManualClock(100.0)
    clock.advance(2.5)

    assert (clock.now_s(), clock.monotonic_s()) == (102.5, 2.5)


def test_the_system_clock_never_goes_back():
    clock = SystemClock()
    first = clock.monotonic_s()

    assert clock.monotonic_s() >= first
    assert clock.now_s() > 1_700_000_000
