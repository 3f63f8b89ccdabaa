"""Near-duplicates: what the prefix filter finds is what comparing every pair finds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.evals.data_duplicates import near_duplicates
from shipway.evals.data_words import grams, words
from shipway.evals.model import Case

TEXTS = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=9).map(" ".join)


def jaccard(first, second):
    left, right = grams(words(first), 3), grams(words(second), 3)
    return len(left & right) / len(left | right)


@settings(max_examples=300)
@given(st.lists(TEXTS, min_size=2, max_size=12, unique=True), st.sampled_from([0.3, 0.5, 0.7, 0.85, 1.0]))
def test_it_finds_what_comparing_every_pair_finds(texts, threshold):
    cases = [Case(f"c{place}", text) for place, text in enumerate(texts)]
    expected = {
        cases[place].id: next((cases[i].id for i in range(place) if jaccard(texts[i], text) >= threshold), None)
        for place, text in enumerate(texts)
    }
    found = {pair.second.id: pair.first.id for pair in near_duplicates(cases, threshold)}
    assert found == {second: first for second, first in expected.items() if first}


def test_scripts_without_spaces_are_compared_by_character():
    first, second = Case("a", "这台咖啡机可以退货吗请告诉我"), Case("b", "这台咖啡机可以退货吗请告诉他")
    (pair,) = near_duplicates([first, second], 0.8)
    assert (pair.first.id, pair.second.id) == ("a", "b")
    assert words("これはペン") == list("これはペン")
