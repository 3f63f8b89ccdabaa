"""Words that turn an answer round, whatever the vectors say: two questions that differ in one never share an answer.

Sentence vectors put "with" and "without", 30 and 45 days, or two products closer together than two ways of asking the
same thing; a threshold alone cannot part them. `gateway.semantic` asks this before it trusts a cosine. Everything here
errs towards a miss: a lost hit costs a call, a false one gives a wrong answer.
"""

import re
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+(?:['\u2019.:,/_@+#-][^\W_]+)*[%+#]*|[€$£%<>=]+|!=")
_SENTENCE_START = re.compile(r"(?:^|[.!?:\n]\s*|[\"'\u201c(]\s*)$")
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_NUMBER_WORDS = {
    word: str(value)
    for value, word in enumerate(_COUNTED.split())
} | {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "million": "1000000", "half": "0.5", "twice": "2", "double": "2",
    "first": "#1", "second": "#2", "third": "#3", "fourth": "#4", "fifth": "#5", "last": "#-1", "next": "#+1",
    "dozen": "12", "once": "1", "single": "1", "both": "2",
}  # fmt: skip
_NEGATION_WORDS = (
    "no not never none neither nor cannot without nobody nothing nowhere hardly barely except unless instead non"
)
_CONTRACTIONS = (
    "isn't aren't don't doesn't didn't can't won't shouldn't wouldn't couldn't hasn't haven't wasn't weren't"
)
# People leave the apostrophe out.
_NEGATIONS = frozenset(f"{_NEGATION_WORDS} {_CONTRACTIONS.replace(chr(39), '')}".split())
_NEGATIVE_PREFIX = re.compile(r"^(?:un|i[nmrl]|[dm]is|non|de)(?=[a-z]{4})")
_OPPOSITES = (
    "before after|more less most least fewer|above below over under|up down|out in|on off|buy sell|open close|"
    "start stop begin end|add remove delete|enable disable|allow deny forbid|block unblock|include exclude|"
    "increase decrease raise lower|min max minimum maximum|first last|early late earliest latest|old new|"
    "left right|north south east west|import export|upload download|send receive|lend borrow|give take|"
    "encrypt decrypt encrypted decrypted|lock unlock|login logout|join leave|accept reject approve refuse|win lose|"
    "true false|male female|man woman|mother father|he she his her|hot cold|high low|long short|big small|"
    "cheap expensive|fast slow|public private|internal external|domestic international|free paid"
)
# A text with one word of a group does not match one with another word of it.
_GROUPS = tuple(frozenset(group.split()) for group in _OPPOSITES.split("|"))
# Both texts have these or neither has.
_DECISIVE_WORDS = (
    "who whom whose where when why only always yesterday today tomorrow morning evening night monday tuesday wednesday "
    "thursday friday saturday sunday january february march april june july august september october november "
    "december"
)
_DECISIVE = frozenset(_DECISIVE_WORDS.split())
_SMALL_WORDS = (
    "a about also am an and are as at be been being but by can could did do does doing for had has have having how i "
    "if is it its just kindly let like ll m me might must my of or our ours please re s shall should so such t tell "
    "than that the their theirs them then there these they this those too us ve was we were what which while will "
    "with would you your yours d hi hello thanks thank know want need"
)
_FUNCTION_WORDS = frozenset(_SMALL_WORDS.split())
_ENDINGS = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ied", "ers", "er", "ed", "ly", "es", "s")
_SHORTEST_STEM = 3


@dataclass(frozen=True, slots=True)
class Wording:
    """What of a text must agree with another's; `shape` is the text in lower case without what never matters."""

    shape: str
    numbers: tuple[str, ...]
    negations: tuple[str, ...]
    decisive: frozenset[str]
    names: frozenset[str]
    words: tuple[str, ...]
    content: tuple[str, ...]


def wording_of(text: str) -> Wording:
    """Return the wording of a question."""
    matches = [(match.group(), match.start()) for match in _WORD.finditer(text)]
    low = [_plain(word) for word, _ in matches]
    names = {_plain(word) for word, start in matches if _is_name(word, bool(_SENTENCE_START.search(text[:start])))}
    content = tuple(_stem(word) for word in low if word not in _FUNCTION_WORDS)
    return Wording(
        shape=" ".join(low),
        numbers=_numbers(low),
        negations=tuple(sorted(word for word in low if _is_negation(word))),
        decisive=frozenset(low) & _DECISIVE,
        names=frozenset(names),
        words=tuple(low),
        content=content,
    )


def may_match(one: Wording, other: Wording) -> bool:
    """Tell whether two questions could have one answer; if not, no similarity of vectors may say so."""
    if one.shape == other.shape:
        return True
    if one.numbers != other.numbers or one.decisive != other.decisive or _are_opposites(one, other):
        return False
    if len(one.negations) != len(other.negations) or _turned(one, other) or _turned(other, one):
        return False
    return _same_names(one, other) and not _is_minimal_pair(one.content, other.content)


def _same_names(one: Wording, other: Wording) -> bool:
    """Tell whether both name the same in the same order: from Leiden to Porto is not from Porto to Leiden.

    A name is told by its capital in one text; the other may have it in lower case.
    """
    names = one.names | other.names
    return [word for word in one.words if word in names] == [word for word in other.words if word in names]


def _are_opposites(one: Wording, other: Wording) -> bool:
    first, second = frozenset(one.words), frozenset(other.words)
    return any(first & group and second & group and first & group != second & group for group in _GROUPS)


def _is_minimal_pair(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Tell whether content words were exchanged, added or reordered: cancel or track an order, kettle or grinder.

    People who say the same in other words change more than one of them, and on both sides.
    """
    only_one, only_other = set(one) - set(other), set(other) - set(one)
    if not only_one and not only_other:
        return one != other
    if not only_one or not only_other:
        return True
    return len(only_one) == len(only_other) == 1


def _turned(one: Wording, other: Wording) -> bool:
    """Tell whether one has a word with a negating prefix that the other has without it: subscribe, unsubscribe."""
    return any((match := _NEGATIVE_PREFIX.match(word)) and word[match.end() :] in other.content for word in one.content)


def _numbers(low: list[str]) -> tuple[str, ...]:
    """Return the numbers in order, each with the word behind it as its unit: 5 days are not 5 weeks."""
    found: list[str] = []
    for index, word in enumerate(low):
        value = _NUMBER_WORDS.get(word) or (word if any(char.isdigit() for char in word) else None)
        if value is not None:
            unit = low[index + 1] if index + 1 < len(low) else ""
            is_unit = unit not in _FUNCTION_WORDS and not unit[:1].isdigit()
            found.append(f"{value} {_stem(unit)}" if is_unit else value)
        elif word and not word[0].isalnum():
            found.append(word)
    return tuple(found)


def _is_name(word: str, starts_sentence: bool) -> bool:  # noqa: FBT001 - one of two facts about a word
    letters = [char for char in word if char.isalpha()]
    if not letters or word.lower() in _FUNCTION_WORDS:
        return False
    if len(letters) > 1 and (all(char.isupper() for char in letters) or any(char.isupper() for char in word[1:])):
        return True
    return word[0].isupper() and not starts_sentence


def _is_negation(word: str) -> bool:
    return word in _NEGATIONS or word.endswith("n't")


def _plain(word: str) -> str:
    return word.lower().replace("\u2019", "'").removesuffix("'s")


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > _SHORTEST_STEM else word
