"""Patterns that may match one path overlap; those of which that can be ruled out do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.config.output_checks import overlap
from shipway.pipeline.patterns import matches_any


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        ("a/**", "b/**", False),
        ("a", "a/b", True),
        ("a", "ab", False),
        ("a/**", "a", True),
        ("a*", "a/**", False),
        ("./a/", "a/x", True),
        ("a/**/c", "a/b/d/c", True),
        ("a/*/c", "a/b/d/c", False),
        ("**/*.json", "configs/*.yaml", False),
        ("[ab].txt", "c.txt", False),
        ("x/[ab]*", "x/c*", True),
        (".", "any/thing", True),
    ],
)
def test_two_patterns_overlap_unless_that_can_be_ruled_out(one: str, other: str, *, overlaps: bool) -> None:
    assert (overlap(one, other), overlap(other, one)) == (overlaps, overlaps)


PARTS = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "?", "[ab]", "**", "a*b"])
PATTERNS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "c"]), min_size=1, max_size=5).map("/".join)


@given(PATTERNS, PATTERNS, PATHS)
def test_no_path_matches_two_patterns_that_do_not_overlap(one: str, other: str, path: str) -> None:
    if matches_any(path, [one]) and matches_any(path, [other]):
        assert overlap(one, other)
