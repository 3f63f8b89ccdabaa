import pytest

from shipway.evals.report_text import cut, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202ex", "\\u202ex"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("שלום ‍👩‍🔬 ñ", "שלום ‍👩‍🔬 ñ"),
    ],
)
def test_what_cannot_be_seen_is_an_escape_and_writing_systems_are_left_alone(text, shown):
    assert visible(text) == shown


def test_a_line_is_one_line():
    assert one_line(" a\n\n b\u2028c\x85d ") == "a b c d"


def test_a_long_line_is_cut_and_says_so():
    assert one_line("word " * 10, 10) == "word word…"
    assert one_line("x" * 10, 10) == "x" * 10
    assert one_line("a" + " " * 100 + "b", 10) == "a…"


def test_a_text_that_begins_with_much_space_is_not_shown_as_nothing():
    assert one_line(" " * 1_000 + "b", 10) == "b"


def test_a_cut_counts_what_is_left_out():
    assert cut("abcdef", 4) == ("abcd", 2)
    assert cut("abc", 4) == ("abc", 0)
