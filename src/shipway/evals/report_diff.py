"""What two answers have in common, word by word; the HTML report loads this module when it has two to compare."""

import re
from collections.abc import Sequence
from typing import Literal

from rapidfuzz.distance import Indel

Part = tuple[Literal["same", "gone", "new"], str]

BY_LINES_CHARS = 20_000
"""Longer texts are compared line by line."""
# The table of a comparison has a bit for each pair of words: 3 MB here, 12 GB for two answers of 10 MB.
_MOST_TOKENS = 5_000
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")


def word_diff(before: str, after: str) -> list[Part]:
    """Return the parts of two texts in order.

    The parts `same` and `gone` together are `before`, `same` and `new` are `after`. Neighbours of one kind are joined.
    Of texts that are too long even by lines only a common beginning and end are found.
    """
    if before == after:
        return [("same", before)] if before else []
    long = max(len(before), len(after)) > BY_LINES_CHARS
    old, new = (text.splitlines(keepends=True) if long else _WORDS.findall(text) for text in (before, after))
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    middle = _middle(old[head : len(old) - tail], new[head : len(new) - tail])
    return _joined([("same", "".join(old[:head])), *middle, ("same", "".join(old[len(old) - tail :]))])


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _middle(old: list[str], new: list[str]) -> list[Part]:
    if max(len(old), len(new)) > _MOST_TOKENS:
        return [("gone", "".join(old)), ("new", "".join(new))]
    parts: list[Part] = []
    for step in Indel.opcodes(old, new):
        gone, come = "".join(old[step.src_start : step.src_end]), "".join(new[step.dest_start : step.dest_end])
        # A space between two changes would cut them into words that nobody reads as a sentence.
        kept = step.tag == "equal" and not gone.isspace()
        parts += [("same", gone)] if kept else [("gone", gone), ("new", come)]
    return parts


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Put neighbours together: within a stretch of changes all that went stands before all that came."""
    found: list[Part] = []
    changed: dict[Literal["gone", "new"], str] = {"gone": "", "new": ""}
    for kind, text in (part for part in parts if part[1]):
        if kind != "same":
            changed[kind] += text
            continue
        found += _taken(changed)
        if found and found[-1][0] == "same":
            found.append(("same", found.pop()[1] + text))
        else:
            found.append(("same", text))
    return found + _taken(changed)


def _taken(changed: dict[Literal["gone", "new"], str]) -> list[Part]:
    parts: list[Part] = [(kind, text) for kind, text in changed.items() if text]
    changed["gone"] = changed["new"] = ""
    return parts
