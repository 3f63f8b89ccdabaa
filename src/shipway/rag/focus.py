"""The sentences that answer a question; the answerer shows the model some, and quotes others beside its words.

A small model reads two sentences well and a page badly, and no single signal finds the decisive sentence: the
cross-encoder goes by shared words and misses paraphrases, the vectors miss exact terms. On the calibration split of the
example the facts asked for are in the chosen sentences for 128 of 140 questions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from shipway.rag.chunk import sentences
from shipway.rag.expectation import Expectation
from shipway.rag.model import Passage, indexed_text
from shipway.rag.ports import Embedder, Reranker
from shipway.rag.words import content_stems

_SAME = 1e-9
_MOST = 5
"""Sentences chosen at most."""
_LEAST = 2
"""Sentences chosen at least: the best alone misses the fact of every tenth question, two of every thirteenth."""
_FAR = 3.0
"""How far behind the best any further sentence may be, in standard deviations."""
_NEAR = 1.0
"""The same for a sentence that the model is shown beside the best."""
_SIMILARITY_WEIGHT = 1.5
_PASSAGE_WEIGHT = 0.5
_WORDS_WEIGHT = 0.25
_CROSS_ENCODER_WEIGHT = 0.5
"""What similarity, the passage's own score, shared words and the cross-encoder's score count beside the kind of fact
asked for (1). Near the softmax regression of the deciding sentence on the calibration split, cross-validated by source
document; neighbouring weights differ by two facts of 140 at most."""
_READ = 12
"""Sentences that the cross-encoder reads: less than half of them, for the same facts."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a passage; `start` and `end` are character offsets into the document."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sentences chosen for a question.

    `passage` is the one that holds the best sentence. `shown` (in reading order) are what the model sees and what
    stands in for its words; `ranked` are all sentences of that passage, best first. `related` are the other chosen
    sentences by passage, best first.
    """

    passage: Passage
    shown: tuple[Sentence, ...] = ()
    ranked: tuple[Sentence, ...] = ()
    related: tuple[tuple[Passage, tuple[Sentence, ...]], ...] = ()

    @property
    def text(self) -> str:
        """Return the shown sentences as one text."""
        return joined(self.shown)


@dataclass(frozen=True, slots=True)
class SentenceModels:
    """What reads sentences; without an embedder words that question and sentence share decide."""

    embedder: Embedder | None = None
    reranker: Reranker | None = None


def joined(chosen: Sequence[Sentence]) -> str:
    """Return sentences as one text; line breaks inside a sentence are spaces."""
    return " ".join(" ".join(item.text.split()) for item in chosen)


async def find_evidence(question: str, passages: Sequence[Passage], models: SentenceModels) -> Evidence:
    """Choose the sentences for a question.

    `passages` are those found for the question, best first, at least one.
    """
    found = [(place, sentence) for place, passage in enumerate(passages) for sentence in _sentences(passage)]
    if not found:
        return Evidence(passages[0])
    scores = await _scores(question, passages, found, models)
    scored = [(at, replace(item, score=float(score))) for (at, item), score in zip(found, scores, strict=True)]
    ranked = sorted(scored, key=lambda pair: (-pair[1].score, pair[0], pair[1].start))
    place, best = ranked[0]
    chosen = [
        (at, item) for rank, (at, item) in enumerate(ranked[:_MOST]) if rank < _LEAST or best.score - item.score <= _FAR
    ]
    shown = [item for at, item in chosen if at == place and best.score - item.score <= _NEAR]
    related: dict[int, list[Sentence]] = {}
    for at, item in chosen:
        if item not in shown:
            related.setdefault(at, []).append(item)
    return Evidence(
        passage=passages[place],
        shown=_in_order(shown),
        ranked=tuple(item for at, item in ranked if at == place),
        related=tuple((passages[at], _in_order(items)) for at, items in related.items()),
    )


async def _scores(
    question: str, passages: Sequence[Passage], found: Sequence[tuple[int, Sentence]], models: SentenceModels
) -> npt.NDArray[np.float64]:
    texts = [indexed_text(passages[at].title, passages[at].heading, sentence.text) for at, sentence in found]
    shared = np.asarray(_shared_words(question, texts), dtype=np.float64)
    similarity: npt.NDArray[np.floating] = shared
    if models.embedder is not None:
        vectors = await models.embedder.embed([question, *texts])
        similarity = vectors[1:] @ vectors[0]
    kind = Expectation.of(question).kind
    fits = np.asarray([1.0 if kind is not None and kind.search(item.text) else 0.0 for _, item in found])
    of_passage = _standard(np.asarray([passages[at].score for at, _ in found]))
    scores: npt.NDArray[np.float64] = (
        _SIMILARITY_WEIGHT * _standard(similarity)
        + fits
        + _PASSAGE_WEIGHT * of_passage
        + _WORDS_WEIGHT * _standard(shared)
    )
    if models.reranker is not None:
        read = np.argsort(-scores, kind="stable")[:_READ]
        judged = _standard(await models.reranker.score(question, [texts[at] for at in read]))
        # What was not read is no better than the worst that was.
        extra = np.full(len(texts), judged.min())
        extra[read] = judged
        scores += _CROSS_ENCODER_WEIGHT * extra
    return scores


def _sentences(passage: Passage) -> list[Sentence]:
    return [
        Sentence(passage.text[start:end], passage.start + start, passage.start + end, 0.0)
        for start, end in sentences(passage.text)
    ]


def _standard(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return standard scores; values that are all alike say nothing and become 0."""
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > _SAME else np.zeros(len(values))


def _in_order(chosen: Iterable[Sentence]) -> tuple[Sentence, ...]:
    return tuple(sorted(chosen, key=lambda item: item.start))


def _shared_words(question: str, texts: Sequence[str]) -> list[float]:
    """Count the question's words in each text; a word that fewer of them have counts more."""
    asked = content_stems(question)
    stems = [content_stems(text) for text in texts]
    weight = {word: 1.0 / sum(word in item for item in stems) for word in asked if any(word in item for item in stems)}
    return [sum(weight[word] for word in item & weight.keys()) for item in stems]
