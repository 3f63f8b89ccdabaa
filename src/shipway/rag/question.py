"""What can be read off a question: its parts and its rare words; `retrieve` asks here.

Rules for English. A question that no rule takes apart stays whole, which costs recall for one of its parts at worst.
"""

import re

MAX_PARTS = 3
_ASKING = r"(?:how|what|which|when|where|who|whom|whose|why|can|could|does|do|did|is|are|will|must|may|should)"
_PREPOSITION = r"(?:(?:in|at|for|after|by|with|to|on|from|within|until|since|up\s+to)\s+(?:\w+\s+(?:of\s+)?)?)?"
_JOINT = re.compile(
    rf"(?:[,;]?\s+(?:and|or|but)\s+(?:also\s+)?|[?;]\s+(?:and\s+)?)(?={_PREPOSITION}{_ASKING}\b)", re.IGNORECASE
)
_OPENING = re.compile(rf"\s*(?:\w+[^?]*?,\s+)?{_PREPOSITION}{_ASKING}\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(?:it|its|they|them|their|theirs|this|these|those|one|ones)\b", re.IGNORECASE)
_NAME = re.compile(r"(?<!^)\b(?:[A-Z][\w-]*|\w*\d[\w-]*)(?:\s+(?:[A-Z][\w-]*|\d[\w.-]*))*")
_FEWEST_WORDS = 3

_WORD = re.compile(r"[^\W_]+(?:[.,-][^\W_]+)*")
_STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "after",
        "again",
        "all",
        "also",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "before",
        "being",
        "but",
        "by",
        "can",
        "cannot",
        "could",
        "did",
        "do",
        "does",
        "doing",
        "down",
        "during",
        "each",
        "every",
        "few",
        "for",
        "from",
        "further",
        "get",
        "gets",
        "give",
        "given",
        "had",
        "has",
        "have",
        "having",
        "he",
        "her",
        "here",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "just",
        "many",
        "may",
        "me",
        "more",
        "most",
        "much",
        "must",
        "my",
        "no",
        "nor",
        "not",
        "of",
        "off",
        "on",
        "once",
        "only",
        "or",
        "other",
        "our",
        "out",
        "over",
        "own",
        "per",
        "same",
        "shall",
        "she",
        "should",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "to",
        "too",
        "under",
        "until",
        "up",
        "us",
        "very",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "within",
        "without",
        "would",
        "you",
        "your",
    ]
)
_SUFFIXES = ("ations", "ation", "ings", "ing", "ied", "ies", "ed", "es", "s", "e")
_SHORTEST_STEM = 3


def split_question(question: str) -> tuple[str, ...]:
    """Return the sub-questions, or the question alone.

    It is cut only where a joining word is followed by a question word, and only when every piece asks something. A
    pronoun in a later piece gets the names of the first.
    """
    pieces = [piece.strip(" ,;") for piece in _JOINT.split(question)]
    pieces = [piece for piece in pieces if piece.strip("?!. ")]
    if not 1 < len(pieces) <= MAX_PARTS or not all(_asks(piece) for piece in pieces):
        return (question,)
    names = " ".join(_NAME.findall(pieces[0]))
    whole = [pieces[0]]
    for piece in pieces[1:]:
        refers = names and _PRONOUN.search(piece) and not _NAME.search(piece)
        whole.append(f"{piece.rstrip('?')} ({names})?" if refers else piece)
    return tuple(piece if piece.endswith("?") else f"{piece}?" for piece in whole)


def content_words(text: str) -> frozenset[str]:
    """Return the stems of the words that carry meaning; numbers and codes stay as they are."""
    return frozenset(
        _stem(word) for match in _WORD.finditer(text) if (word := match.group().casefold()) not in _STOP_WORDS
    )


def _asks(piece: str) -> bool:
    return _OPENING.match(piece) is not None and len(piece.split()) >= _FEWEST_WORDS


def _stem(word: str) -> str:
    if any(sign.isdigit() for sign in word):
        return word
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            return word[: -len(suffix)]
    return word
