from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from shipway.evals.report_diff import BY_LINES_CHARS, word_diff

WORDS = st.lists(st.sampled_from(["a", "b", "c.", " ", "\n", "30", "días", "\ud800"]), max_size=30).map("".join)


def test_a_changed_word_is_the_only_change():
    assert word_diff("within 30 days", "within 14 days") == [
        ("same", "within "),
        ("gone", "30"),
        ("new", "14"),
        ("same", " days"),
    ]


def test_changed_words_in_a_row_are_one_change():
    assert word_diff("the red fox ran", "the big dog ran") == [
        ("same", "the "),
        ("gone", "red fox"),
        ("new", "big dog"),
        ("same", " ran"),
    ]


def test_equal_and_empty_texts_have_no_change():
    assert word_diff("a b", "a b") == [("same", "a b")]
    assert word_diff("", "") == []
    assert word_diff("", "a") == [("new", "a")]
    assert word_diff("a", "") == [("gone", "a")]


def test_long_texts_are_compared_by_lines():
    lines = [f"line {number} of the text\n" for number in range(BY_LINES_CHARS // 10)]
    changed = [*lines[:5], "another line\n", *lines[6:]]
    assert word_diff("".join(lines), "".join(changed)) == [
        ("same", "".join(lines[:5])),
        ("gone", "line 5 of the text\n"),
        ("new", "another line\n"),
        ("same", "".join(lines[6:])),
    ]


def test_texts_that_are_too_long_even_by_lines_are_one_change_between_what_is_common():
    old, new = ("\n".join(f"{word}{number}" for number in range(200_000)) for word in ("a", "b"))
    assert word_diff(f"head\n{old}\ntail", f"head\n{new}\ntail") == [
        ("same", "head\n"),
        ("gone", old + "\n"),
        ("new", new + "\n"),
        ("same", "tail"),
    ]


@settings(max_examples=200)
@given(WORDS, WORDS)
def test_the_parts_put_together_are_the_two_texts(before, after):
    parts = word_diff(before, after)
    assert "".join(text for kind, text in parts if kind != "new") == before
    assert "".join(text for kind, text in parts if kind != "gone") == after
    assert all(text for _, text in parts)
    kinds = [kind for kind, _ in parts]
    assert all(first != second for first, second in pairwise(kinds))
