import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.detector import detector_value, failures_to_alarm


def first_alarm(rate: float, limit: float, mean_run: float, seed: int, most: int) -> int:
    source = random.Random(seed)
    outcomes: list[bool] = []
    for count in range(1, most + 1):
        outcomes.append(source.random() < rate)
        # Only a failure can raise it.
        if not outcomes[-1] and detector_value(outcomes[-400:], limit) >= mean_run:
            return count
    return most


@pytest.mark.parametrize("limit", [0.9, 0.95])
def test_a_rate_exactly_at_the_limit_gives_false_alarms_no_more_often_than_promised(limit):
    runs = [first_alarm(limit, limit, 100.0, seed, 2000) for seed in range(40)]
    assert sum(runs) / len(runs) >= 100.0


def test_a_fall_after_a_good_year_is_seen_as_fast_as_on_the_first_day():
    fresh = failures_to_alarm(0.9, 1000.0)
    assert fresh <= 5
    after = [True] * 5000 + [False] * (fresh + 1)
    assert detector_value(after, 0.9) >= 1000.0


def test_a_rate_that_halves_is_seen_within_a_few_dozen_observations():
    delays = [first_alarm(0.5, 0.9, 1000.0, seed, 2000) for seed in range(40)]
    assert sum(delays) / len(delays) < 25.0


def test_nothing_seen_is_no_evidence():
    assert detector_value([], 0.9) == 0.0


@given(st.lists(st.booleans(), max_size=60), st.floats(0.01, 0.99))
def test_a_failure_never_lowers_the_evidence_and_a_pass_gives_no_more_than_a_failure_would(outcomes, limit):
    value = detector_value(outcomes, limit)
    failed, passed = detector_value([*outcomes, False], limit), detector_value([*outcomes, True], limit)
    assert math.isfinite(failed)
    assert failed >= value
    assert passed <= failed


def test_endless_failures_stay_a_number():
    values = [detector_value([False] * count, 0.99) for count in (10, 100, 10_000)]
    assert all(math.isfinite(value) for value in values)
    assert all(first <= second for first, second in pairwise(values))


@pytest.mark.parametrize("limit", [0.0, 1.0, math.nan])
def test_a_limit_that_is_no_share_is_refused(limit):
    with pytest.raises(ValueError, match="limit"):
        detector_value([True], limit)


@pytest.mark.parametrize("mean_run", [1.0, math.inf, math.nan])
def test_a_mean_run_that_cannot_be_is_refused(mean_run):
    with pytest.raises(ValueError, match="mean_run"):
        failures_to_alarm(0.9, mean_run)
