import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.rag.support import check_support, says, sentences

RETURNS = (
    "You can return most items within 30 days of delivery for a full refund. "
    "Sale items can be returned within 14 days, for store credit only."
)
VPN = "Sessions end after 12 hours. Split tunnelling is disabled unless your manager approves it."


@pytest.mark.parametrize(
    ("question", "answer", "passage"),
    [
        (
            "How long can I return a sale item?",
            "Sale items can be returned within 14 days, for store credit only.",
            RETURNS,
        ),
        (
            "How long can I return a sale item?",
            "Sale items can be returned within fourteen days for store credit only.",
            RETURNS,
        ),
        ("Is split tunnelling allowed?", "No, split tunnelling is disabled unless your manager approves it.", VPN),
        ("When does the VPN session end?", "Sessions end after 12 hours.", VPN),
        (
            "Which company supplies the pumps?",
            "The pumps come from Corvane Fluidics in Bologna.",
            "The pumps come from Corvane Fluidics in Bologna; urgent orders have a lead time of 19 days.",
        ),
    ],
)
def test_an_answer_in_the_words_of_the_passage_is_supported(question, answer, passage):
    assert check_support(question, answer, passage).reasons == ()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Sale items can be returned within 21 days for store credit only.", "number not in the passage: 21 day"),
        ("Sale items can be returned within 14 weeks for store credit only.", "number not in the passage: 14 week"),
        ("Sale items go back to Amsterdam within 14 days.", "name not in the passage: Amsterdam"),
        ("Sale items cannot be returned within 14 days, for store credit only.", "adds a negation"),
        ("Sale items can be returned for a while, for store credit only.", "leaves out the number: 14 day"),
        ("Sale items can be returned within 14 days.", "leaves out the condition"),
        ("Our friendly team gladly helps everybody with pleasure.", "of its words"),
        ("", "says nothing"),
        ("Yes.", "says nothing"),
        ("How long can I return a sale item?", "repeats the question"),
    ],
)
def test_what_the_passage_does_not_say_or_what_decides_is_reported(answer, reason):
    result = check_support("How long can I return a sale item?", answer, RETURNS)
    assert not result.supported
    assert any(reason in item for item in result.reasons), result.reasons


def test_a_dropped_negation_turns_a_statement_round():
    passage = "Cash on delivery and cheques are not accepted. Cards are charged at dispatch."
    result = check_support("Can I pay with cheques?", "Cash on delivery and cheques are accepted.", passage)
    assert any("drops a negation" in item for item in result.reasons)


def test_a_number_of_the_question_may_be_repeated_but_does_not_answer_it():
    passage = "Receipts are required for anything above 25 euros."
    question = "Do I need a receipt for 12 euros?"
    assert check_support(question, "A receipt is required above 25 euros, not for 12 euros.", passage).reasons != (
        "number not in the passage: 12 eur",
    )
    assert not check_support(question, "No receipts are required for 12 euros.", passage).supported


def test_a_model_going_in_circles_is_not_supported():
    said = "the steam wand is ready now " * 4 + "after 50 seconds"
    result = check_support("When is the wand ready?", said, "The steam wand is ready after 50 seconds now.")
    assert "goes in circles" in result.reasons


def test_evidence_decides_which_sentence_must_be_kept():
    question = "Is the Pelican kettle safe?"
    passage = "The Pelican kettle is safe to touch. The Pelican kettle lock needs 4 seconds."
    answer = "The Pelican kettle is safe to touch."
    assert check_support(question, answer, passage, ["The Pelican kettle is safe to touch."]).supported
    assert not check_support(question, answer, passage, ["The Pelican kettle lock needs 4 seconds."]).supported


@given(st.text(), st.text(), st.text())
def test_any_text_gets_a_verdict_that_its_reasons_explain(question, answer, passage):
    result = check_support(question, answer, passage)
    assert result.supported is not bool(result.reasons)
    assert 0.0 <= result.score <= 1.0


def test_a_line_break_ends_a_sentence():
    assert sentences("One two\nThree. Four") == ["One two", "Three.", "Four"]


def test_a_number_said_of_another_thing_than_the_passage_says_it_of_is_not_supported():
    passage = "The double basket of the machine takes 18 grams. The single basket takes 9 grams."
    wrong = check_support("How much?", "The double basket of the machine takes 9 grams.", passage)
    assert "number of another sentence: 9 g" in wrong.reasons
    right = check_support("How much?", "The double basket of the machine takes 18 grams.", passage)
    assert right.reasons == ()


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        ("Sale items can be returned within 14 days, for store credit only.", True),
        ("Sale items can be returned within 30 days, for store credit only.", False),
        ("Sale items can be returned within 14 days.", False),
        ("Beans are final.", False),
    ],
)
def test_an_answer_says_a_sentence_when_it_has_its_words_numbers_and_conditions(answer, held):
    sentence = "Sale items can be returned within 14 days, for store credit only."
    assert says(answer, sentence, "What about sale items?") is held


def test_a_number_of_the_question_need_not_be_said_again():
    assert says(
        "Yes, orders above that ship free.", "Orders above 35 euros ship free.", "Do orders above 35 euros ship free?"
    )
