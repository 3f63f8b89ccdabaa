from hypothesis import given
from hypothesis import strategies as st

from shipway.rag.words import content_stems, is_negation, stem, words


def test_endings_do_not_hide_that_two_words_are_one():
    assert stem("refunded") == stem("refunds") == stem("refunding") == "refund"


def test_function_words_and_negations_carry_no_content():
    assert content_stems("You may not return it to the shop") == {"return", "shop"}


def test_a_typographic_apostrophe_is_an_apostrophe():
    assert words("don\u2019t") == ("don't",)
    assert is_negation("don't")


@given(st.text())
def test_stems_are_never_empty(text):
    assert all(content_stems(text))
