"""Quantiles and their intervals: nearest ranks, coverage, and what too few values cannot say."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.order_statistics import (
    interval_ranks,
    quantile_of_known,
    quantile_with_interval,
    values_needed,
)


def test_the_quantile_is_the_value_of_the_nearest_rank():
    values = [float(number) for number in range(1, 101)]

    found = [quantile_with_interval(values, q) for q in (0.5, 0.9, 0.99)]

    assert [item.value for item in found] == [50.0, 90.0, 99.0]


def test_nothing_has_no_quantile():
    assert quantile_with_interval([], 0.5) is None


def test_the_median_of_ten_lies_between_the_second_and_the_ninth_value():
    # The textbook interval of 97.9 %.
    assert interval_ranks(10, 0.5, 0.95) == (2, 9)


def test_few_values_do_not_bound_a_high_quantile_from_above():
    values = [float(number) for number in range(100)]

    found = quantile_with_interval(values, 0.99)

    assert found.low is not None
    assert found.high is None


@pytest.mark.parametrize(("q", "confidence"), [(0.5, 0.95), (0.95, 0.95), (0.99, 0.95), (0.99, 0.9833)])
def test_the_number_of_values_that_is_needed_is_the_smallest_that_gives_a_bound(q, confidence):
    needed = values_needed(q, confidence)

    assert interval_ranks(needed, q, confidence)[1] is not None
    assert interval_ranks(needed - 1, q, confidence)[1] is None


@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_the_interval_holds_the_true_quantile_as_often_as_it_says(q):
    rng = random.Random(7)
    runs = 400
    held = 0
    for _ in range(runs):
        found = quantile_with_interval(sorted(rng.random() for _ in range(600)), q)
        held += (found.low or 0.0) <= q <= (1.0 if found.high is None else found.high)

    # 95 % of 400 with four standard errors; the seed makes it the same each time.
    assert held / runs >= 0.95 - 4 * (0.95 * 0.05 / runs) ** 0.5


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_bounds_surround_the_value(values, q):
    found = quantile_with_interval(sorted(values), q)

    assert found.low is None or found.low <= found.value
    assert found.high is None or found.high >= found.value


@given(st.integers(20, 3000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_an_interval_from_a_few_known_quantiles_is_never_narrower_than_that_of_all_values(n, q):
    values = [float(number) for number in range(n)]
    known = {share: quantile_with_interval(values, share).value for share in (0.5, 0.75, 0.9, 0.95, 0.99, 0.999)}
    known[1.0] = values[-1]

    whole, few = quantile_with_interval(values, q), quantile_of_known(known, n, q)

    assert few.value == whole.value
    assert few.low is None or few.low <= whole.low
    assert few.high is None or few.high >= whole.high


def test_a_quantile_that_is_not_known_is_not_made_up():
    assert quantile_of_known({0.5: 1.0}, 1000, 0.99) is None
    assert quantile_of_known({0.99: 1.0}, 0, 0.99) is None
