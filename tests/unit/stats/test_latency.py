"""The log-bucket sketch."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.latency import SMALLEST_VALUE, LogBuckets

VALUES = st.lists(st.one_of(st.just(0.0), st.floats(SMALLEST_VALUE, 1e9)), min_size=1, max_size=60)


def same_buckets(left, right):
    return (
        left.counts == right.counts and left.zero_count == right.zero_count and left.total == pytest.approx(right.total)
    )


@given(VALUES, st.floats(0.0, 1.0))
def test_a_quantile_is_within_one_percent_of_the_value_at_its_rank(values, q):
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert LogBuckets().add_all(values).quantile(q) == pytest.approx(exact, rel=0.01 + 1e-9)


@given(VALUES, st.floats(0.001, 0.2))
def test_the_stated_relative_error_holds_for_every_setting(values, relative_error):
    sketch = LogBuckets(relative_error=relative_error).add_all(values)
    assert sketch.quantile(1.0) == pytest.approx(max(values), rel=relative_error + 1e-9)


@given(VALUES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_quantiles_never_fall_as_q_rises(values, q1, q2):
    sketch = LogBuckets().add_all(values)
    assert sketch.quantile(min(q1, q2)) <= sketch.quantile(max(q1, q2))


@given(VALUES, VALUES)
def test_merging_equals_adding_everything_to_one_sketch(first, second):
    merged = LogBuckets().add_all(first).merge(LogBuckets().add_all(second))
    together = LogBuckets().add_all(first + second)
    assert same_buckets(merged, together)
    assert merged.count == len(first) + len(second)


@given(VALUES)
def test_adding_one_by_one_equals_adding_all_at_once(values):
    sketch = LogBuckets()
    for value in values:
        sketch = sketch.add(value)
    assert sketch == LogBuckets().add_all(values)


@given(VALUES)
def test_a_stored_sketch_reads_back_equal(values):
    sketch = LogBuckets().add_all(values)
    assert LogBuckets.from_dict(json.loads(json.dumps(sketch.to_dict()))) == sketch


def test_adding_leaves_the_original_sketch_as_it_was():
    empty = LogBuckets()
    one = empty.add(3.0)
    one.add(3.0)
    one.merge(one)
    assert (empty.count, one.count) == (0, 1)


def test_the_mean_is_exact():
    assert LogBuckets().add_all([0.0, 1.0, 5.0]).mean == 2.0


def test_a_day_of_latencies_stays_small():
    sketch = LogBuckets().add_all(0.1 * 1.001**i for i in range(14_000))
    assert sketch.count == 14_000
    assert len(sketch.counts) < 720


def test_an_empty_sketch_has_no_quantile_and_no_mean():
    with pytest.raises(ValueError, match="empty sketch has no quantile"):
        LogBuckets().quantile(0.5)
    with pytest.raises(ValueError, match="empty sketch has no mean"):
        _ = LogBuckets().mean


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_values_that_cannot_be_latencies_are_refused(value):
    with pytest.raises(ValueError, match="finite values of zero or more"):
        LogBuckets().add(value)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_a_quantile_outside_zero_to_one_is_refused(q):
    with pytest.raises(ValueError, match="q must lie between 0 and 1"):
        LogBuckets().add(1.0).quantile(q)


def test_sketches_whose_buckets_do_not_line_up_are_not_merged():
    with pytest.raises(ValueError, match=r"relative errors 0.01 and 0.02"):
        LogBuckets().merge(LogBuckets(relative_error=0.02))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counts", None),
        ("counts", {"1": 0}),
        ("counts", {"1": "2"}),
        ("counts", {"one": 2}),
        ("zero_count", -1),
        ("total", math.nan),
        ("relative_error", None),
    ],
)
def test_a_damaged_stored_sketch_is_refused(key, value):
    with pytest.raises(ValueError, match=r"sketch|bucket|invalid literal"):
        LogBuckets.from_dict(LogBuckets().add(2.0).to_dict() | {key: value})
