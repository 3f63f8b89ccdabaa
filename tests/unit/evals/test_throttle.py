import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.evals.throttle import LONGEST_PAUSE_S, AdaptiveLimit, retry_after


def test_a_pushback_halves_the_limit_once_for_all_that_was_in_flight():
    limit = AdaptiveLimit(16, 16)
    for _ in range(16):
        limit.pushed_back(started_s=1.0, now_s=2.0, retry_after_s=None)
    assert limit.limit == 8
    limit.pushed_back(started_s=2.5, now_s=3.0, retry_after_s=None)
    assert limit.limit == 4


def test_successes_raise_the_limit_by_one_a_round_up_to_the_ceiling():
    limit = AdaptiveLimit(2, 4)
    for _ in range(2):
        limit.succeeded()
    assert limit.limit == 3
    for _ in range(100):
        limit.succeeded()
    assert limit.limit == 4


def test_the_limit_never_falls_below_one():
    limit = AdaptiveLimit(1, 8)
    limit.pushed_back(5.0, 6.0, None)
    assert limit.limit == 1


def test_a_pause_that_is_asked_for_is_kept_but_not_an_endless_one():
    limit = AdaptiveLimit(4, 4)
    limit.pushed_back(1.0, 10.0, 3.0)
    assert limit.paused_until_s == 13.0
    limit.pushed_back(1.0, 10.0, 1e9)
    assert limit.paused_until_s == 10.0 + LONGEST_PAUSE_S


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 50), st.integers(1, 50))
def test_the_limit_stays_between_one_and_its_ceiling(calls, start, ceiling):
    limit = AdaptiveLimit(start, ceiling)
    for now_s, ok in enumerate(calls):
        if ok:
            limit.succeeded()
        else:
            limit.pushed_back(now_s, now_s + 0.5, None)
        assert 1 <= limit.limit <= max(start, ceiling)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Sun, 15 Jun 2025 15:07:00 GMT", 20.0),
        ("Sun, 15 Jun 2025 15:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text, seconds):
    assert retry_after(text, now_s=1_750_000_000.0) == seconds
