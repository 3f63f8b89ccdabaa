"""Content words of English text, cut to stems; `support` and `focus` compare texts by them."""

import re

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?|\d+(?:[.,:]\d+)*")

_FUNCTION_WORDS = (
    "a about also am an and any are as at be been being but by can could did do does doing for from had has have "
    "having he her hers him his how i if in into is it its just may me might must my of on or our ours please she "
    "should so some such than that the their theirs them then there these they this those to too us was we were what "
    "when where which while who whom whose why will with would yes you your yours"
)
_TURNING_WORDS = "not no never none neither nor cannot without nobody nothing"
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
NEGATIONS = frozenset(_TURNING_WORDS.split())

_ENDINGS = "ations ation ments ment ings ing ies ied edly ed ers er ly es s"
_SUFFIXES = tuple(_ENDINGS.split())
_SHORTEST_STEM = 4


def words(text: str) -> tuple[str, ...]:
    """Return the words and numbers of a text in lower case, in order."""
    return tuple(match.group().lower().replace("\u2019", "'") for match in _WORD.finditer(text))


def content_stems(text: str) -> frozenset[str]:
    """Return the stems of the words that carry meaning; negations and function words are not among them."""
    return frozenset(stem(word) for word in words(text) if word not in STOP_WORDS and not is_negation(word))


def stem(word: str) -> str:
    """Cut the commonest endings off: enough to match `refunded` and `refunds`, no dictionary."""
    word = word.removesuffix("'s")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            word = word[: -len(suffix)]
            break
    return word.rstrip("e") if len(word) > _SHORTEST_STEM else word


def is_negation(word: str) -> bool:
    """Tell whether a lower-case word turns a statement round."""
    return word in NEGATIONS or word.endswith("n't")
