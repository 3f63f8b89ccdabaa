from hypothesis import given
from hypothesis import strategies as st

from shipway.gateway.answer_route import pieces


@given(st.text())
def test_the_pieces_of_an_answer_joined_are_the_answer(text):
    assert "".join(pieces(text)) == text


def test_a_sentence_comes_in_several_pieces():
    assert pieces("one two three four five six") == ["one two three four ", "five six"]
