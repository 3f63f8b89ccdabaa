"""Fusion weighs by standard scores."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.rag.fusion import fused

hits = st.dictionaries(st.integers(0, 20), st.floats(-5, 5), max_size=12).map(
    lambda d: sorted(d.items(), key=lambda h: -h[1])
)


@given(dense=hits, sparse=hits, weight=st.floats(0, 1))
def test_every_hit_of_either_list_is_there_once_and_in_order(dense, sparse, weight):
    found = fused(dense, sparse, weight)
    assert sorted(n for n, _ in found) == sorted({n for n, _ in dense} | {n for n, _ in sparse})
    assert all(a[1] >= b[1] for a, b in pairwise(found))


@pytest.mark.parametrize(("weight", "first"), [(1.0, 1), (0.0, 2)])
def test_the_weight_decides_between_lists_that_disagree(weight, first):
    assert fused([(1, 0.9), (2, 0.1)], [(2, 8.0), (1, 1.0)], weight)[0][0] == first


def test_a_clear_winner_beats_a_narrow_one_unlike_with_ranks():
    dense = [(1, 0.9), (2, 0.2), (3, 0.1)]
    sparse = [(2, 5.1), (1, 5.0), (3, 1.0)]
    assert fused(dense, sparse, 0.5)[0][0] == 1


def test_nothing_found_is_nothing_fused():
    assert fused([], [], 0.5) == []
