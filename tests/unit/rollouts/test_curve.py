"""The evidence's curve stays small and keeps its shape."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shipway.rollouts.curve import MAX_POINTS, Curve

steps = st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=400)


def curve_of(gaps):
    curve, at_s = Curve(), 0.0
    for number, gap in enumerate(gaps):
        at_s += gap
        curve = curve.with_point(at_s, float(number), 1.0)
    return curve, at_s


@given(steps)
def test_any_number_of_looks_stays_bounded_in_order_with_the_first_and_the_last(gaps):
    curve, last_s = curve_of(gaps)
    times = [point[0] for point in curve.points]
    assert len(times) <= MAX_POINTS
    assert times == sorted(times)
    assert (times[0], times[-1]) == (gaps[0], last_s)
    assert curve.points[-1][1] == len(gaps) - 1


def test_a_long_rollout_is_kept_evenly():
    curve, _ = curve_of([1.0] * 5000)
    times = [point[0] for point in curve.points]
    assert len(times) > MAX_POINTS / 3
    assert max(later - earlier for earlier, later in pairwise(times)) < 5 * 5000 / MAX_POINTS


def test_looks_without_news_add_nothing_and_time_never_goes_back():
    curve = Curve().with_point(1.0, 2.0, 3.0)
    assert curve.with_point(5.0, 2.0, 3.0) is curve
    assert curve.with_point(0.5, 9.0, 9.0) is curve


def test_a_curve_survives_its_json_form():
    curve, _ = curve_of([1.0] * 300)
    assert Curve.from_dict(curve.to_dict()) == curve
