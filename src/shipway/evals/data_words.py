"""The words of a case, for checks that compare texts: duplicates, leakage, lengths."""

import re
from collections.abc import Sequence

from shipway.evals.model import Case
from shipway.evals.text import normalise

# Scripts without spaces count by character: a sentence of them would otherwise be one word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")

Asker = tuple[str, tuple[str, ...]]
"""Tenant and groups: the same question of another asker may have another answer."""


def words(text: str) -> list[str]:
    """Return the words without case, typography and punctuation."""
    return _WORD.findall(normalise(text))


def grams(text: Sequence[str], length: int) -> frozenset[tuple[str, ...]]:
    """Return the runs of so many words; of a shorter text, the text itself."""
    if not text:
        return frozenset()
    return frozenset(tuple(text[start : start + length]) for start in range(max(1, len(text) - length + 1)))


def asker(case: Case) -> Asker:
    """Return who asks."""
    return case.tenant, tuple(sorted(case.groups))


def asked(case: Case) -> str:
    """Return all that is asked: the turns before, the question and the variables that it may hold."""
    turns = [str(turn.get("content") or "") for turn in case.messages]
    filled = [str(value) for _, value in sorted(case.variables.items()) if str(value) not in case.question]
    return "\n".join([*turns, case.question, *filled])
