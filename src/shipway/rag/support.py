"""Does a passage support the model's own words? Asked before any repair; the answerer and the evaluations rely on it.

Two questions, without a model and in under a millisecond:

* **Precision** — nothing is said that the passage does not say: every quantity and every name of the answer occurs in
  the passage, its words are the passage's words, and no statement is turned round by dropping or adding a negation.
* **Specificity** — what decides is not left out: when the sentence that answers the question states a quantity or a
  condition, the answer states it as well.

The check prefers to refuse: an unsupported verdict costs the user nothing but wording, because the passage is quoted
instead.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from shipway.rag.quantities import Quantity, quantities
from shipway.rag.words import STOP_WORDS, content_stems, is_negation, words

_OVERLAP = 0.75
"""Share of the answer's content words that passage or question must have."""
_OVERLAP_PASSAGE = 0.5
"""Share that the passage must have; the rest may be the question's own words."""
_ALIGNED = 0.5
"""Share of a statement's words that make a passage sentence the one it repeats."""
_CONDITION_KEPT = 0.6
"""Share of a condition's words that count as stating it."""
_LOOP = 3
"""So many times the same four words are a model going in circles."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_CONDITION = re.compile(r"\b(?:if|unless|only|except|provided|as long as)\b[^.;]*", re.IGNORECASE)
_MAIN_CLAUSE = re.compile(r"[;:,]\s")
_NAME = re.compile(r"(?<![.!?:\n]\s)(?<!^)(?<![\"'(\n])\b[A-Z][\w-]+")
_ASKS_QUANTITY = re.compile(
    r"\bhow (?:many|much|long|often|soon|fast|early|late|old|large|big|heavy|high|far|tall|wide|hot|warm)\b"
    r"|\b(?:until|by|from|to|at) (?:when|what time)\b|\bwhen\b|\bwhat (?:percentage|amount|price|fee|size|rate)\b"
    r"|\bcosts?\b|\bprices?\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"^\s*(?:yes|no)\b[\s,.:;!-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a passage supports an answer; `reasons` are what speaks against it, `score` the share of shared words."""

    supported: bool
    reasons: tuple[str, ...]
    score: float


def check_support(question: str, answer: str, passage: str, evidence: Sequence[str] = ()) -> Support:
    """Check an answer in the model's own words against its passage.

    `evidence` are the sentences of the passage that answer the question, best first; without them the sentence closest
    to question and answer stands in.
    """
    statement = _YES_NO.sub("", answer).strip()
    stems = content_stems(statement)
    if not stems:
        return Support(supported=False, reasons=("says nothing",), score=0.0)
    said = content_stems(passage)
    asked = content_stems(question)
    score = len(stems & said) / len(stems)
    target = _target(question, statement, list(evidence) or sentences(passage))
    reasons = (
        *_invented(question, statement, passage),
        *_misplaced(question, statement, passage),
        *_overlap(stems, said, asked),
        *_turned_round(statement, passage),
        *_degenerate(statement, stems, asked, said),
        *_left_out(question, statement, target),
    )
    return Support(supported=not reasons, reasons=reasons, score=score)


def says(answer: str, sentence: str, question: str) -> bool:
    """Tell whether an answer holds what a sentence says: most of its words, its conditions and every quantity.

    Quantities of the question need not be said again.
    """
    known = {item.value for item in (*quantities(answer), *quantities(question))}
    return (
        _keeps(sentence, answer)
        and all(item.value in known for item in quantities(sentence))
        and all(_keeps(match.group(), answer) for match in _CONDITION.finditer(sentence))
    )


def sentences(text: str) -> list[str]:
    """Return the sentences of a short text; a line break ends one as well."""
    return [piece.strip() for piece in _SENTENCE.split(text) if piece.strip()]


def _invented(question: str, statement: str, passage: str) -> list[str]:
    known = quantities(passage) + quantities(question)
    reasons = [
        f"number not in the passage: {found.value} {found.unit}".rstrip()
        for found in quantities(statement)
        if not _occurs(found, known)
    ]
    there = set(words(passage)) | set(words(question))
    for match in _NAME.finditer(statement):
        pieces = [word for word in words(match.group()) if word not in STOP_WORDS]
        if any(piece not in there for piece in pieces):
            reasons.append(f"name not in the passage: {match.group()}")
    return reasons


def _occurs(quantity: Quantity, known: Sequence[Quantity]) -> bool:
    units = {item.unit for item in known if item.value == quantity.value}
    return bool(units) and (not quantity.unit or quantity.unit in units or "" in units)


def _misplaced(question: str, statement: str, passage: str) -> list[str]:
    """Find a quantity of one sentence that is said of another: `9 g` of the double basket, which takes `18 g`."""
    asked = {item.value for item in quantities(question)}
    held = [(frozenset(quantities(text)), _subject(text)) for text in sentences(passage)]
    for said in sentences(statement):
        subject = _subject(said)
        for found in quantities(said):
            near = [len(subject & of) for holds, of in held if any(item.value == found.value for item in holds)]
            rival = [
                len(subject & of)
                for holds, of in held
                if any(item.unit == found.unit for item in holds) and all(item.value != found.value for item in holds)
            ]
            if found.value not in asked and near and rival and max(rival) > max(near):
                return [f"number of another sentence: {found.value} {found.unit}".rstrip()]
    return []


def _subject(text: str) -> frozenset[str]:
    return frozenset(word for word in content_stems(text) if not word[0].isdigit())


def _overlap(stems: frozenset[str], said: frozenset[str], asked: frozenset[str]) -> list[str]:
    known = len(stems & (said | asked)) / len(stems)
    if known < _OVERLAP:
        return [f"only {known:.0%} of its words are the passage's or the question's"]
    from_passage = len(stems & said) / len(stems)
    return [f"only {from_passage:.0%} of its words are the passage's"] if from_passage < _OVERLAP_PASSAGE else []


def _turned_round(statement: str, passage: str) -> list[str]:
    for said in sentences(statement):
        stems = content_stems(said)
        best = max(sentences(passage), key=lambda item: len(stems & content_stems(item)), default="")
        shared = stems & content_stems(best)
        if not stems or len(shared) / len(stems) < _ALIGNED:
            continue
        for clause in _clauses(best):
            clause_stems = content_stems(clause)
            is_said = clause_stems and len(clause_stems & stems) / len(clause_stems) >= _CONDITION_KEPT
            if is_said and _negative(clause) and not _negative(said):
                return [f"drops a negation: {clause.strip()}"]
        if _negative(said) and not _negative(best):
            return [f"adds a negation to: {best}"]
    return []


def _clauses(sentence: str) -> list[str]:
    return [piece for piece in re.split(r"[;,:]|\b(?:and|but|or|which|because|since)\b", sentence) if piece.strip()]


def _negative(text: str) -> bool:
    return any(is_negation(word) for word in words(text))


def _degenerate(statement: str, stems: frozenset[str], asked: frozenset[str], said: frozenset[str]) -> list[str]:
    if "?" in statement or (stems <= asked and not (stems & said) - asked):
        return ["repeats the question"]
    run = words(statement)
    four = Counter(run[index : index + 4] for index in range(len(run) - 3))
    return ["goes in circles"] if four and max(four.values()) >= _LOOP else []


def _target(question: str, statement: str, candidates: Sequence[str]) -> str:
    asked, said = content_stems(question), content_stems(statement)

    def closeness(sentence: str) -> float:
        stems = content_stems(sentence)
        return len(stems & asked) + 0.5 * len(stems & said)

    return max(candidates, key=closeness, default="")


def _left_out(question: str, statement: str, target: str) -> list[str]:
    asked = frozenset(quantities(question))
    kept = {item.value for item in quantities(statement)}
    stated = [item for item in quantities(target) if item not in asked]
    if _ASKS_QUANTITY.search(question) and stated and not {item.value for item in stated} & kept:
        return [f"leaves out the number: {_listed(stated)}"]
    clause = _closest_clause(question, statement, target)
    missing = [item for item in quantities(clause) if item not in asked and item.value not in kept]
    if missing and not {item.value for item in quantities(clause)} & kept:
        return [f"leaves out the number: {_listed(missing)}"]
    for match in _CONDITION.finditer(target):
        if not _keeps(match.group(), statement):
            return [f"leaves out the condition: {match.group().strip()}"]
    return []


def _listed(items: Sequence[Quantity]) -> str:
    return ", ".join(f"{item.value} {item.unit}".rstrip() for item in items)


def _closest_clause(question: str, statement: str, target: str) -> str:
    """Return the clause of the target that answers; other clauses may hold numbers that nobody asked for."""
    return _target(question, statement, _MAIN_CLAUSE.split(target))


def _keeps(condition: str, statement: str) -> bool:
    stems = content_stems(condition)
    return not stems or len(stems & content_stems(statement)) / len(stems) >= _CONDITION_KEPT
