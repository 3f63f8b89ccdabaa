"""What a question expects of its answer, and how well a passage meets it; `retrieve` turns this into a signal.

A question that names products or places speaks the documents' language: when its words are in no sentence beside an
expression of the kind asked for (a sum, a duration, a number of cups), the fact is probably not there, however near
the passage is. A question without names is a paraphrase, whose words say nothing either way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from shipway.rag.access import VisibleCorpus
from shipway.rag.chunk import sentences
from shipway.rag.model import Passage
from shipway.rag.question import content_words

_NUMBER = r"(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|twelve|once|twice)"
_TIME = r"(?:s|h|min|seconds?|minutes?|hours?|(?:working |calendar |business )?(?:days?|weeks?|months?|years?))"
_DURATION = rf"{_NUMBER}[ -]{_TIME}\b|\b\d{{4}}\b|\b(?:hour|day|week|month|year|minute)s?\b"
_LENGTH = r"\b(?:mm|cm|m|metres?|centimetres?|millimetres?|inch|inches|litres?|ml|percent|%|EUR)\b"
_WEIGHT = r"\b(?:kg|g|grams?|kilograms?|tonnes?)\b"
_MONEY = r"EUR|USD|GBP|€|\$|£|\b(?:free|no charge|percent)\b"
# What may stand in a text for a unit that a question names.
_UNITS = {
    "second": r"s(?:econds?)?",
    "minute": r"min(?:utes?)?",
    "hour": r"h(?:ours?)?",
    "day": r"(?:working |calendar |business )?(?:days?|weeks?)",
    "week": r"(?:weeks?|days?)",
    "month": r"(?:months?|years?)",
    "year": r"(?:years?|months?)",
    "watt": r"k?(?:watts?|W)",
    "volt": r"(?:volts?|V)",
    "litre": r"(?:ml|litres?|l)",
    "centimetre": r"(?:cm|mm|centimetres?)",
    "kilogram": r"(?:kg|g|grams?|kilograms?)",
    "gram": r"(?:kg|g|grams?|kilograms?)",
    "decibel": r"(?:dB|decibels?)",
    "euro": r"(?:EUR|euros?)",
}
_COUNTED = re.compile(
    r"\bhow many (?:\w+ ){0,2}?(\w+?)s?\b(?= (?:do|does|did|can|is|are|was|may|must|should|will|has|have|remain|fit|"
    r"need|of|in|per|on|at|a|an|the|from|after|before|i)\b)",
    re.IGNORECASE,
)
_IN_UNIT = re.compile(r"\bin (\w+?)s?\b", re.IGNORECASE)
# What the question word asks for comes before what a noun or verb suggests: "how fast do you pay" asks for a time.
_KINDS = (
    (re.compile(r"\bhow heavy\b|\bweighs?\b", re.IGNORECASE), _WEIGHT),
    (re.compile(r"\bhow (?:wide|high|tall|deep|large)\b|\bhow much (?:free )?space\b", re.IGNORECASE), _LENGTH),
    (
        re.compile(r"\bhow (?:long|fast|soon|quickly|early|late)\b|(?:^|[,.] |until |since )when\b", re.IGNORECASE),
        _DURATION,
    ),
    (re.compile(r"\b(?:costs?|prices?|fees?|surcharges?|charges?|pay)\b|\bhow much money\b", re.IGNORECASE), _MONEY),
)
_NAME = re.compile(r"[A-Z][\w-]*|\w*\d[\w.-]*")
_PARAGRAPH = re.compile(r"[^\n]+")


@dataclass(frozen=True, slots=True)
class Expectation:
    """A question's words and what its answer must look like.

    `kind` matches an expression of the kind asked for; None when the question does not say. `words` leaves out those
    that only name the kind ("cost", "heavy"): the expression stands for them.
    """

    words: frozenset[str]
    named: bool
    kind: re.Pattern[str] | None

    @classmethod
    def of(cls, question: str) -> "Expectation":
        """Read a question."""
        match, pattern = _asked_kind(question)
        rest = question if match is None else question[: match.start()] + " " + question[match.end() :]
        kind = None if pattern is None else re.compile(pattern)
        return cls(content_words(rest), _names_something(question), kind)

    def met_by(self, passage: Passage, visible: VisibleCorpus) -> float:
        """Return in [0, 1] how much of the question's vocabulary the passage's best sentence holds.

        Words of title and headings count for every sentence, and only sentences with an expression of the kind asked
        for count at all. A question without names is always met.
        """
        if not self.named:
            return 1.0
        above = f"{passage.title} {' '.join(passage.heading)}"
        fitting = [text for text in _sentences(passage.text) if self.kind is None or self.kind.search(text)]
        return max((visible.coverage(self.words, f"{above} {text}") for text in fitting), default=0.0)


def _asked_kind(question: str) -> tuple[re.Match[str] | None, str | None]:
    unit = next((match for match in _IN_UNIT.finditer(question) if match.group(1).casefold() in _UNITS), None)
    counted = _COUNTED.search(question)
    found = unit or counted
    if found:
        noun = found.group(1).casefold()
        if noun in _UNITS:
            return found, rf"{_NUMBER}[ -]?{_UNITS[noun]}\b"
        near = re.escape(noun)
        return found, rf"(?i){_NUMBER}\W+(?:\w+\W+){{0,3}}?{near}|{near}\w*\W+(?:\w+\W+){{0,4}}?{_NUMBER}"
    for trigger, pattern in _KINDS:
        match = trigger.search(question)
        if match:
            return match, pattern
    return None, None


def _names_something(question: str) -> bool:
    """Say whether a word inside a sentence is capitalised or holds a digit."""
    words = question.split()
    for before, word in pairwise(words):
        bare = word.strip("?,.;:!()'\"").split("'")[0]
        if before[-1] not in ".?!:" and bare != "I" and _NAME.fullmatch(bare):
            return True
    return False


def _sentences(text: str) -> Iterator[str]:
    for paragraph in _PARAGRAPH.finditer(text):
        for start, end in sentences(text, paragraph.start(), paragraph.end()):
            yield text[start:end]
