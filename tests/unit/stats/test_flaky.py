import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from shipway.stats.flaky import tail_probability


@given(st.integers(1, 40), st.integers(1, 20), st.data())
def test_the_tail_is_that_of_the_beta_binomial_distribution(before, now, data):
    passed_before, passed = data.draw(st.integers(0, before)), data.draw(st.integers(0, now))
    expected = scipy_stats.betabinom.cdf(passed, now, passed_before + 0.5, before - passed_before + 0.5)
    assert tail_probability(passed_before, before, passed, now) == pytest.approx(float(expected), rel=1e-9, abs=1e-12)


def test_one_failure_after_twenty_passes_is_no_alarm_and_five_are():
    assert tail_probability(20, 20, 4, 5) > 0.05
    assert tail_probability(20, 20, 0, 5) < 0.001


def test_unchanged_cases_seldom_raise_an_alarm():
    rng = random.Random(7)
    cases, alarms, strict = 100, 0, 0
    for _ in range(60):
        for rate in (rng.betavariate(9, 1) for _ in range(cases)):
            before, now = (sum(rng.random() < rate for _ in range(asked)) for asked in (20, 5))
            alarms += tail_probability(before, 20, now, 5) <= 0.05 / cases
            strict += before == 20 and now < 5
    # 60 unchanged releases; at a nominal 5 % a release 7 alarms or more have probability 0.03.
    assert alarms <= 6
    assert strict > 60


@pytest.mark.parametrize("counts", [(2, 1, 0, 1), (0, 0, 0, 1), (0, 1, 2, 1), (0, 1, 0, 0), (-1, 1, 0, 1)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(ValueError, match="must"):
        tail_probability(*counts)
