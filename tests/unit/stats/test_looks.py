import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.looks import spent
from shipway.stats.paired import paired_test


@given(st.floats(0.001, 0.5), st.integers(1, 20))
def test_spent_alphas_sum_to_alpha(alpha, looks):
    assert math.isclose(sum(spent(alpha, looks)), alpha)
    assert len(spent(alpha, looks)) == looks


@pytest.mark.parametrize(("alpha", "looks"), [(0.0, 1), (1.0, 1), (0.05, 0)])
def test_an_alpha_or_a_number_of_looks_that_cannot_be_is_refused(alpha, looks):
    with pytest.raises(ValueError, match="must"):
        spent(alpha, looks)


def blocked(levels, *, seed, runs=400, cases=40):
    """Count the unchanged releases that a look after each repeat finds significantly worse at one of the levels."""
    rng = random.Random(seed)
    clusters = [str(case) for case in range(cases)]
    found = 0
    for _ in range(runs):
        rates = [rng.betavariate(2, 1) for _ in range(cases)]
        totals = [0.0] * cases
        for look, level in enumerate(levels, start=1):
            for case, rate in enumerate(rates):
                totals[case] += (rng.random() < rate) - (rng.random() < rate)
            drop = [total / look for total in totals]
            if paired_test(drop, clusters, alpha=level, seed=look, permutations=300).p_value <= level:
                found += 1
                break
    return found


def test_looking_again_blocks_more_than_alpha_unless_the_alpha_is_shared():
    # 400 unchanged releases at a nominal 5 %: 29 or more have probability 0.03 at that rate.
    assert blocked(spent(0.05, 5), seed=3) <= 28
    assert blocked((0.05,) * 5, seed=3) > 28
