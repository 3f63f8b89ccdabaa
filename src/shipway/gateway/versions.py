"""Semantic versions compared the way flagd's `sem_ver` does. Called by `gateway.json_logic`.

Source: semver.org 2.0.0, section 11; `~` is the same minor version, `^` the same major version.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_LONGEST = 256

Version = tuple[tuple[int, int, int], tuple[tuple[int, int, str], ...] | None]


def version_matches(left: Any, operator: Any, right: Any) -> bool | None:
    """Return whether two versions are in a relation; None when one is no version or the relation is unknown."""
    if not isinstance(left, str) or not isinstance(right, str):
        return None
    a, b = _parsed(left), _parsed(right)
    if a is None or b is None:
        return None
    relation = _RELATIONS.get(operator) if isinstance(operator, str) else None
    return None if relation is None else relation(a, b)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Version | None:
    match = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2] or 0), int(match[3] or 0))
    if match[4] is None:
        return numbers, None
    # Numbers stand below words, and are compared as numbers.
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in match[4].split("."))
    return numbers, parts


def _order(a: Version, b: Version) -> int:
    if a[0] != b[0]:
        return -1 if a[0] < b[0] else 1
    if a[1] == b[1]:
        return 0
    if a[1] is None or b[1] is None:
        # A version without a pre-release stands above one with it.
        return 1 if a[1] is None else -1
    return -1 if a[1] < b[1] else 1


_RELATIONS: Mapping[str, Callable[[Version, Version], bool]] = {
    "=": lambda a, b: _order(a, b) == 0,
    "!=": lambda a, b: _order(a, b) != 0,
    "<": lambda a, b: _order(a, b) < 0,
    "<=": lambda a, b: _order(a, b) <= 0,
    ">": lambda a, b: _order(a, b) > 0,
    ">=": lambda a, b: _order(a, b) >= 0,
    "~": lambda a, b: a[0][:2] == b[0][:2],
    "^": lambda a, b: a[0][0] == b[0][0],
}
