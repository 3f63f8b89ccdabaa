"""How texts are compared, so that typography never decides whether an answer is right.

`assertions` and `metrics` call this. Applied in this order, to the answer and to the expected term alike:

1. thousands separators between groups of three digits go (`1,000`, `1'000`, `1 000` with a non-breaking or thin space
   are `1000`; a plain space, a point and a leading zero are left alone: `12 345`, `1.000`, `0,125`);
2. NFKC (full-width forms, ligatures, superscripts, non-breaking spaces), zero-width characters and soft hyphens go;
3. every dash and minus is `-`, every quotation mark `'` or `"`;
4. white space runs are one space, ends are trimmed;
5. unless asked otherwise, case is folded.
"""

import re
import unicodedata
from functools import lru_cache

_THOUSANDS = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:[,'\u2019\u00a0\u2009\u202f]\d{3})+(?!\d)")
_SEPARATOR = re.compile(r"\D")
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63", "-")
    | dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a\u0060\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad")
)
# First-person openings only: a passage that happens to say "if you do not know your password" is an answer.
_REFUSAL = re.compile(
    r"(?:sorry[,.]? (?:but )?|unfortunately,? |i(?:'m| am) (?:afraid|sorry)[,.]? (?:that |but )?)*"
    r"(?:i (?:do not|don't) (?:know|have (?:any |enough |that |this )?(?:information|documents?|sources?))"
    r"|i (?:cannot|can't|could not|couldn't|am unable to|am not able to) "
    r"(?:answer|find|help|assist|say|determine|provide|comply)"
    r"|i'm (?:unable|not able) to (?:answer|find|help|assist|say|determine|provide|comply)"
    r"|(?:the|my|these|your) (?:documents?|sources?) (?:do not|does not|don't|doesn't) "
    r"(?:say|answer|contain|cover|mention))"
)

# Every metric compares the same answer, and every repeat the same terms. Of long answers the last two forms are kept.
_SHORT_CHARS = 4_000
# How much of a longer answer is looked at for an opening.
_OPENING_CHARS = 10_000


def normalise(text: str, *, fold_case: bool = True) -> str:
    """Return the form in which texts are compared; applying it twice changes nothing."""
    return (_short if len(text) <= _SHORT_CHARS else _long)(text, fold_case)


def _normalised(text: str, fold_case: bool) -> str:  # noqa: FBT001 - the two caches below take it by position
    if text.isascii():
        ascii_text = _without_thousands(text).replace("`", "'")
        return _without_thousands(" ".join((ascii_text.lower() if fold_case else ascii_text).split()))
    plain = unicodedata.normalize("NFKC", _without_thousands(text).translate(_TYPOGRAPHY)).translate(_TYPOGRAPHY)
    folded = unicodedata.normalize("NFKC", plain.casefold()) if fold_case else plain
    # NFKC may bring a separator's plain form to light between digits that stood apart, as in full-width text.
    return _without_thousands(" ".join(folded.split()))


_short = lru_cache(maxsize=2_048)(_normalised)
_long = lru_cache(maxsize=2)(_normalised)


def contains(text: str, term: str, *, fold_case: bool = True) -> bool:
    """Tell whether the term occurs in the text after normalisation.

    A term that begins or ends with a digit is not found inside a longer number: `30` is not in `300`, `130` or `30.5`.
    An empty term is in no text.
    """
    needle = normalise(term, fold_case=fold_case)
    if not needle:
        return False
    return _stands_in(normalise(text, fold_case=fold_case), needle)


def starts_with(text: str, term: str) -> bool:
    """Tell whether the text begins with the term after normalisation; `30` does not begin `300` or `30.5`."""
    needle, beginning = normalise(term), normalise(text)
    if not needle or not beginning.startswith(needle):
        return False
    return not (needle[-1].isdecimal() and _number_goes_on(beginning[len(needle) : len(needle) + 2]))


def reads_as_refusal(text: str) -> bool:
    """Tell whether a text opens as a refusal in English; for targets that report no `abstained` event."""
    opening = text if len(text) <= _OPENING_CHARS else text.lstrip()[:_OPENING_CHARS]
    return _REFUSAL.match(normalise(opening)) is not None


def _stands_in(text: str, needle: str) -> bool:
    number_first, number_last = needle[0].isdecimal(), needle[-1].isdecimal()
    start = text.find(needle)
    while start >= 0:
        end = start + len(needle)
        before = number_first and _number_goes_on(text[max(start - 2, 0) : start][::-1])
        if not before and not (number_last and _number_goes_on(text[end : end + 2])):
            return True
        start = text.find(needle, start + 1)
    return False


def _number_goes_on(outwards: str) -> bool:
    """Tell whether the two characters next to a number, nearest first, belong to it: a digit, or `.` or `,` and one."""
    return outwards[:1].isdecimal() or (outwards[:1] in {".", ","} and outwards[1:].isdecimal())


def _without_thousands(text: str) -> str:
    if "," not in text and "'" not in text and text.isascii():
        return text
    return _THOUSANDS.sub(lambda found: _SEPARATOR.sub("", found.group()), text)
