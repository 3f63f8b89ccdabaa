"""Argument checks of the statistics."""

import math

import pytest

from shipway.stats.arguments import check_count, check_open_share, check_positive


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.1, math.nan, math.inf])
def test_a_share_outside_the_open_interval_is_refused_with_its_name_and_value(value):
    with pytest.raises(ValueError, match=rf"alpha must lie strictly between 0 and 1, got {value}"):
        check_open_share("alpha", value)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_number_that_is_not_positive_and_finite_is_refused(value):
    with pytest.raises(ValueError, match="delta must be a positive finite number"):
        check_positive("delta", value)


def test_a_count_below_its_minimum_is_refused_and_the_minimum_itself_is_not():
    check_count("n", 1, minimum=1)
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        check_count("n", 0, minimum=1)
