"""How complex a request looks, from 0 to 1, from its last user message alone; routing rules compare with it.

A cheap estimate, about 20 us for a thousand characters and only where a rule asks: it counts what tends to make a task
harder for a small model, and no more than that. Half of it is length on a logarithmic scale (nothing below 40
characters, all of it from 4,000); the other half are up to four marks, an eighth each: words that ask for reasoning or
comparison, code or formulas, several questions or numbered steps, long words. Tune the thresholds of your rules on your
own traffic: every record carries the model that was chosen.
"""

import math

_SHORT, _LONG = 40, 4000
_SPAN = math.log(_LONG / _SHORT)
_MARK = 0.125
_SEEN_CHARS = 4000
_LONG_WORD_CHARS = 7.0
_REASONING = (
    "why",
    "explain",
    "compare",
    "prove",
    "derive",
    "analy",
    "step by step",
    "trade-off",
    "difference between",
    "pros and cons",
    "plan",
    "design",
    "debug",
    "refactor",
    "warum",
    "erklär",
    "vergleich",
)
_TECHNICAL = ("```", "def ", "class ", "select ", "import ", "function", "{", "=>", "\\frac", "=", "traceback")
_STEPS = ("\n1.", "\n2.", "\n- ", "\n* ", " then ", " first ", " finally ")
_SEVERAL = 2


def complexity(text: str) -> float:
    """Return the estimate for a user's message."""
    seen = text[:_SEEN_CHARS].lower()
    size = len(text)
    length = min(1.0, max(0.0, math.log(max(size, 1) / _SHORT) / _SPAN))
    marks = (
        any(word in seen for word in _REASONING),
        any(word in seen for word in _TECHNICAL),
        seen.count("?") >= _SEVERAL or sum(mark in seen for mark in _STEPS) >= _SEVERAL,
        size > _SHORT and len(seen) / (seen.count(" ") + 1) >= _LONG_WORD_CHARS,
    )
    return 0.5 * length + _MARK * sum(marks)
