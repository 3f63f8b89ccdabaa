"""The sentences of a passage that answer a question; the answerer shows the model these and quotes them when it must.

A small model reads two sentences well and a page badly. The answer to a calibration question of the example is in the
best two of its passage's sentences for 48 of 52 questions, and in the best one for 44.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shipway.rag.chunk import sentences
from shipway.rag.model import Passage
from shipway.rag.ports import Reranker
from shipway.rag.words import content_stems

_MOST = 2
"""Sentences shown at most."""
_NEAR_LOGIT = 3.0
"""How far behind the best a second sentence may be, in the cross-encoder's logits."""
_NEAR_WORDS = 0.5
"""The same as a share of the best one's shared words, where there is no cross-encoder."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage; `start` and `end` are character offsets into the document."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sentences chosen from a passage.

    `shown` (in reading order) are what the model sees, `quoted` what stands in for its words; `ranked` are all of them,
    best first.
    """

    shown: tuple[Sentence, ...]
    quoted: tuple[Sentence, ...]
    ranked: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """Return the shown sentences as one text."""
        return joined(self.shown)


def joined(chosen: Sequence[Sentence]) -> str:
    """Return sentences as one text; line breaks inside a sentence are spaces."""
    return " ".join(" ".join(item.text.split()) for item in chosen)


async def find_evidence(question: str, passage: Passage, reranker: Reranker | None) -> Evidence:
    """Choose sentences of a passage by the cross-encoder, or by shared words where there is none."""
    offsets = list(sentences(passage.text))
    texts = [passage.text[start:end] for start, end in offsets]
    if not texts:
        return Evidence((), (), ())
    if reranker is None or len(texts) == 1:
        scores = _shared_words(question, texts)
        nearest = max(scores) * _NEAR_WORDS
    else:
        heading = " > ".join(dict.fromkeys((passage.title, *passage.heading)))
        scores = [float(score) for score in await reranker.score(question, [f"{heading}\n{text}" for text in texts])]
        nearest = max(scores) - _NEAR_LOGIT
    found = [
        Sentence(text, passage.start + start, passage.start + end, score)
        for text, (start, end), score in zip(texts, offsets, scores, strict=True)
    ]
    ranked = sorted(found, key=lambda item: (-item.score, item.start))
    best = ranked[:_MOST]
    return Evidence(
        shown=_in_order(item for item in best if item.score >= nearest),
        quoted=_in_order(best),
        ranked=tuple(ranked),
    )


def _in_order(chosen: Iterable[Sentence]) -> tuple[Sentence, ...]:
    return tuple(sorted(chosen, key=lambda item: item.start))


def _shared_words(question: str, texts: Sequence[str]) -> list[float]:
    """Count the question's words in each text; a word that fewer of them have counts more."""
    asked = content_stems(question)
    stems = [content_stems(text) for text in texts]
    weight = {word: 1.0 / sum(word in item for item in stems) for word in asked if any(word in item for item in stems)}
    return [sum(weight[word] for word in item & weight.keys()) for item in stems]
