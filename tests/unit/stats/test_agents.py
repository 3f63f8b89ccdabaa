import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.stats.agents import pass_at_k, pass_hat_k

counts = st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n)))


@given(counts)
def test_both_are_the_share_of_all_ways_to_draw_k_attempts(numbers):
    successes, attempts, k = numbers
    drawn = list(combinations([True] * successes + [False] * (attempts - successes), k))
    assert pass_hat_k(successes, attempts, k) == pytest.approx(sum(map(all, drawn)) / len(drawn))
    assert pass_at_k(successes, attempts, k) == pytest.approx(sum(map(any, drawn)) / len(drawn))


@pytest.mark.parametrize("measure", [(pass_hat_k, lambda p: p**3), (pass_at_k, lambda p: 1 - (1 - p) ** 3)])
def test_both_are_unbiased(measure):
    estimate, truth = measure
    p, n = 0.6, 5
    expected = math.fsum(math.comb(n, c) * p**c * (1 - p) ** (n - c) * estimate(c, n, 3) for c in range(n + 1))
    assert expected == pytest.approx(truth(p))


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((1, 2, 0), "k must be at least 1, got 0"),
        ((1, 2, 3), "attempts must be at least 3, got 2"),
        ((-1, 2, 1), "successes must be at least 0, got -1"),
        ((3, 2, 1), "successes must be at most the 2 attempts, got 3"),
    ],
)
@pytest.mark.parametrize("estimate", [pass_hat_k, pass_at_k])
def test_counts_that_cannot_be_are_refused(estimate, numbers, message):
    with pytest.raises(ValueError, match=message):
        estimate(*numbers)
