"""What patterns of inputs and outputs match."""

import pytest

from shipway.pipeline.patterns import fixed_part, matches_any


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("src/a.py", "src/a.py", True),
        ("src", "src/deep/a.py", True),
        ("src/", "src/a.py", True),
        ("./src", "src/a.py", True),
        ("src", "srcs/a.py", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/deep/a.py", False),
        ("src/**", "src/deep/a.py", True),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("**/*.py", "a.py", True),
        ("*.py", "src/a.py", False),
        ("a?.txt", "ab.txt", True),
        ("a?.txt", "a/.txt", False),
        ("[ab].txt", "b.txt", True),
        ("[!ab].txt", "b.txt", False),
        ("a[.txt", "a[.txt", True),
        ("a.b", "aXb", False),
        (".", "anything/at/all", True),
    ],
)
def test_a_pattern_matches_what_its_signs_say(pattern: str, path: str, *, matches: bool) -> None:
    assert matches_any(path, [pattern]) is matches


@pytest.mark.parametrize("patterns", [["src/**", "!src/gen/**"], ["!src/gen", "src"]])
def test_what_is_taken_out_is_out_wherever_that_is_written(patterns: list[str]) -> None:
    assert matches_any("src/a.py", patterns)
    assert not matches_any("src/gen/a.py", patterns)


def test_the_fixed_part_ends_before_the_first_wildcard() -> None:
    assert [fixed_part(pattern) for pattern in ("src/**/*.py", "a/b", "**", "./x/y*")] == ["src", "a/b", "", "x"]
