"""Questions are taken apart only where a second question begins."""

import pytest

from shipway.rag.question import content_words, split_question


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        (
            "How long is a card valid, and after how many months do points expire?",
            ("How long is a card valid?", "after how many months do points expire?"),
        ),
        (
            "What is the tank volume of the Lamp, and in packs of how many are its wicks sold?",
            ("What is the tank volume of the Lamp?", "in packs of how many are its wicks sold (Lamp)?"),
        ),
        (
            "How old is the Heron and which water is recommended for it?",
            ("How old is the Heron?", "which water is recommended for it (Heron)?"),
        ),
        (
            "How long is the warranty? What does a repair cost?",
            ("How long is the warranty?", "What does a repair cost?"),
        ),
    ],
)
def test_two_questions_in_one_become_two_that_stand_alone(question, parts):
    assert split_question(question) == parts


@pytest.mark.parametrize(
    "question",
    [
        "What do kettles and grinders cost?",
        "My kettle broke and I am sad. What now?",
        "Is it loud and is",
        "How do I clean the pot and the lid?",
        "",
        "and how? and what? and why? and when?",
    ],
)
def test_anything_else_stays_whole(question):
    assert split_question(question) == (question,)


def test_content_words_are_stems_without_stop_words_and_codes_stay_whole():
    assert content_words("How do I descale the kettles with TW-4102 at 1.5 bar?") == {
        "descal",
        "kettl",
        "tw-4102",
        "1.5",
        "bar",
    }
    assert content_words("returned") == content_words("returning")
