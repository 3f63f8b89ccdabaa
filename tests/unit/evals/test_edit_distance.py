import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.evals.edit_distance import distance, likeness

words = st.text(alphabet="abc", max_size=8)


def by_definition(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@given(words, words, st.integers(0, 10))
def test_the_distance_is_levenshteins_up_to_the_most_that_matters(a, b, most):
    assert distance(a, b, most) == min(by_definition(a, b), most + 1)


@given(words, words)
def test_likeness_is_one_less_the_distance_by_the_longer_text(a, b):
    longest = max(len(a), len(b))
    expected = 1 - by_definition(a, b) / longest if longest else 1.0
    assert likeness(a, b, 0) == pytest.approx(expected)


def test_a_likeness_below_the_least_is_zero():
    assert likeness("abcd", "abcx", 0.8) == 0.0
