import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.evals.text import contains, normalise, reads_as_refusal, starts_with


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("  Two\n\twords ", "two words"),
        ("30\u00a0days", "30 days"),
        ("e\u2011mail \u2014 it\u2019s \u201cfine\u201d", 'e-mail - it\'s "fine"'),
        ("\uff21\uff22\uff23 \ufb01t", "abc fit"),
        ("soft\u00adhyphen\u200b", "softhyphen"),
        ("Stra\u00dfe", "strasse"),
        ("EUR 1,234,567.50", "eur 1234567.50"),
        ("1'000 and 1\u202f000", "1000 and 1000"),
    ],
)
def test_typography_case_and_space_do_not_matter(written, compared):
    assert normalise(written) == compared


@pytest.mark.parametrize("kept", ["12 345", "1.000", "0,125", "10,20", "2,0000"])
def test_what_may_be_two_numbers_or_a_decimal_is_left_alone(kept):
    assert normalise(kept) == kept


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


def test_case_is_kept_when_asked():
    assert normalise("ABC", fold_case=False) == "ABC"
    assert not contains("abc", "ABC", fold_case=False)


@pytest.mark.parametrize("text", ["300 days", "130 days", "30.5 days", "0.30 kg", "2,30"])
def test_a_number_is_not_found_inside_a_longer_number(text):
    assert not contains(text, "30")


@pytest.mark.parametrize("text", ["30", "within 30 days.", "30.", "EUR30", "(30)", "30-day", "yes, 30, or so"])
def test_a_number_is_found_between_anything_else(text):
    assert contains(text, "30")


def test_an_empty_term_is_in_no_text():
    assert not contains("anything", " \u200b ")
    assert not starts_with("anything", " \u200b ")


numbers = st.text(alphabet="012.,\u0663 a", max_size=10)


@given(numbers, numbers)
def test_a_term_is_found_where_a_regular_expression_finds_it_outside_numbers(text, term):
    needle = normalise(term)
    before = r"(?<!\d)(?<!\d[.,])" if needle[:1].isdecimal() else ""
    after = r"(?!\d)(?![.,]\d)" if needle[-1:].isdecimal() else ""
    expected = bool(needle) and re.search(before + re.escape(needle) + after, normalise(text)) is not None
    assert contains(text, term) is expected


@given(st.text(alphabet=st.characters(max_codepoint=127)), st.booleans())
def test_plain_text_is_normalised_as_it_is_beside_other_text(text, fold_case):
    beside = normalise(f"\u00e9 {text}", fold_case=fold_case)
    assert normalise(text, fold_case=fold_case) == beside.removeprefix("\u00e9").lstrip()


def test_a_long_text_is_normalised_as_a_short_one_is():
    long = "Stra\u00dfe\u00a030 " * 2_000
    for _ in range(2):
        assert normalise(long) == ("strasse 30 " * 2_000).strip()
        assert normalise(long, fold_case=False) == ("Stra\u00dfe 30 " * 2_000).strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30 days", True), (" 30", True), ("300", False), ("30.5", False), ("30. Then", True), ("in 30", False)],
)
def test_a_text_starts_with_a_number_and_not_with_a_part_of_it(text, expected):
    assert starts_with(text, "30") is expected


@given(st.text(alphabet="abc 1.,\u00a0\u2019", max_size=12), st.text(alphabet="xyz ", max_size=8))
def test_a_term_is_found_between_words(term, around):
    if normalise(term):
        assert contains(f"{around} {term} {around}", term)


@pytest.mark.parametrize(
    "answer",
    [
        "I don\u2019t know.",
        "Sorry, I could not find that in the documents.",
        "Unfortunately, I cannot answer this question.",
        "The documents do not say.",
        "I'm unable to help with that.",
    ],
)
def test_a_refusal_is_recognised_by_its_opening(answer):
    assert reads_as_refusal(answer)


@pytest.mark.parametrize("answer", ["", "If you don't know your password, reset it.", "You cannot return it.", "No."])
def test_an_answer_that_mentions_not_knowing_is_no_refusal(answer):
    assert not reads_as_refusal(answer)


def test_a_refusal_of_ten_megabytes_is_one():
    assert reads_as_refusal("  Sorry, I cannot answer that. " + "Because. " * 1_200_000)
    assert not reads_as_refusal("You have 30 days. " * 600_000 + "I don't know.")
