"""Find passages for a question under access rules; the answerer and `POST /retrieve` call this.

Order of work: select what the principal may read → dense and keyword search among that alone → fusion → put away
superseded documents → cross-encoder on the best → answerability. A question of several parts is searched part by part.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from shipway.core.clock import Clock
from shipway.core.errors import IntegrityError, UsageError
from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.rag.access import VisibleCorpus
from shipway.rag.answerable import Coefficients, Signals
from shipway.rag.expectation import Expectation
from shipway.rag.fusion import fused, standard_scores
from shipway.rag.index import OpenCorpus
from shipway.rag.model import Passage, QuestionPart, Retrieval
from shipway.rag.ports import Embedder, Hit, Reranker
from shipway.rag.question import split_question

_STAGES = ("embed", "dense", "sparse", "fuse", "rerank")
# Those that an answer is made of: a weak hit further down must not speak for a question.
_JUDGED = 3
_VISIBLE_SETS = 256
"""Access selections kept; one is needed for each combination of tenant and groups in use."""


@dataclass(frozen=True, slots=True)
class RetrievalPolicy:
    """How passages are found: the `policy.retrieval` part of a release.

    `candidates` are taken from each of dense and keyword search; `rerank` of them are read by the cross-encoder.
    `dense_weight` is the share of the vectors against the keywords, `rerank_weight` that of the cross-encoder against
    both.
    """

    top_k: int = 5
    candidates: int = 40
    rerank: int = 12
    dense_weight: float = 0.9
    rerank_weight: float = 0.5
    answerable: Coefficients = field(default_factory=Coefficients)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "RetrievalPolicy":
        """Return the policy of its JSON form (a dumped configuration section); unknown keys are passed over."""
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        if "answerable" in values:
            values["answerable"] = Coefficients(**values["answerable"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class RetrievalModels:
    """The models that read questions; without a reranker the fused order stands."""

    embedder: Embedder
    reranker: Reranker | None


@dataclass(slots=True)
class _Stopwatch:
    clock: Clock
    spent_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_STAGES, 0.0))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started_s = self.clock.monotonic_s()
        try:
            yield
        finally:
            self.spent_ms[name] += (self.clock.monotonic_s() - started_s) * 1000.0


class Retriever:
    """Retrieval over one open corpus; safe to share between requests."""

    def __init__(self, corpus: OpenCorpus, models: RetrievalModels, policy: RetrievalPolicy, clock: Clock) -> None:
        if models.embedder.digest != corpus.manifest.embedding_digest:
            raise IntegrityError(
                f"corpus {corpus.digest} was embedded by {corpus.manifest.embedding_digest}, "
                f"the loaded model is {models.embedder.digest}",
                hint="build the corpus again, or load the model it was built with",
            )
        self._corpus = corpus
        self._models = models
        self._policy = policy
        self._clock = clock
        self._visible: OrderedDict[tuple[TenantId, frozenset[str]], VisibleCorpus] = OrderedDict()

    async def retrieve(self, question: str, principal: Principal, *, top_k: int | None = None) -> Retrieval:
        """Return the best `top_k` passages (default: the policy's) that the principal may read.

        Raises:
            UsageError: an empty question, or `top_k` below 1.
            IntegrityError: an index offered a chunk that the principal may not read.
        """
        limit = self._policy.top_k if top_k is None else top_k
        if not question.strip():
            raise UsageError("the question is empty", hint="send the user's words")
        if limit < 1:
            raise UsageError(f"top_k {limit} is below 1", hint="ask for at least one passage")
        watch = _Stopwatch(self._clock)
        visible = self._visible_to(principal)
        questions = split_question(question)
        if not len(visible.numbers):
            nothing = tuple(QuestionPart(item, (), 0.0, answerable=False) for item in questions)
            return Retrieval(question, (), nothing, 0.0, answerable=False, timings_ms=watch.spent_ms, considered=0)
        parts = await self._parts(questions, (visible, principal), limit, watch)
        weakest = min(part.answerability for part in parts)
        return Retrieval(
            question=question,
            passages=_interleaved(parts, limit),
            parts=parts,
            answerability=weakest,
            answerable=all(part.answerable for part in parts),
            timings_ms=watch.spent_ms,
            considered=len(visible.numbers),
        )

    def _visible_to(self, principal: Principal) -> VisibleCorpus:
        key = (principal.tenant, principal.groups)
        found = self._visible.get(key)
        if found is None:
            found = VisibleCorpus.of(self._corpus.chunks, principal)
            self._visible[key] = found
            if len(self._visible) > _VISIBLE_SETS:
                self._visible.popitem(last=False)
        self._visible.move_to_end(key)
        return found

    async def _parts(
        self, questions: Sequence[str], who: tuple[VisibleCorpus, Principal], limit: int, watch: _Stopwatch
    ) -> tuple[QuestionPart, ...]:
        visible, principal = who
        with watch.stage("embed"):
            vectors = await self._models.embedder.embed(questions)
        with watch.stage("dense"):
            dense = await self._corpus.vectors.search(vectors, visible.numbers, self._policy.candidates)
        found = []
        for index, (question, hits) in enumerate(zip(questions, dense, strict=True)):
            with watch.stage("sparse"):
                sparse = await self._corpus.keywords.search(question, principal, self._policy.candidates)
            with watch.stage("fuse"):
                candidates = self._candidates(visible, hits, sparse)
            # All parts share one reranking budget, so that a long question is not a slow one.
            budget = max(limit, self._policy.rerank // len(questions)) if self._policy.rerank else 0
            with watch.stage("rerank"):
                passages = await self._ranked(question, candidates, budget)
            expected = Expectation.of(question)
            passages = [replace(item, part=index, coverage=expected.met_by(item, visible)) for item in passages[:limit]]
            found.append(self._part(question, passages))
        return tuple(found)

    def _candidates(self, visible: VisibleCorpus, dense: Sequence[Hit], sparse: Sequence[Hit]) -> list[Passage]:
        """Fuse both lists and put superseded documents away: out when the successor was found too, else last."""
        hits = fused(visible.checked(dense), visible.checked(sparse), self._policy.dense_weight)
        cosines = dict(dense)
        # A chunk that only the keywords found is no nearer than the last one that the vectors found.
        floor = min(cosines.values(), default=0.0)
        documents = {self._corpus.chunks[number].document for number, _ in hits}
        current, superseded = [], []
        for number, score in hits:
            passage = self._passage(number, score, cosines.get(number, floor))
            successor = visible.superseded_by.get(passage.document)
            if successor is None:
                current.append(passage)
            elif successor not in documents:
                superseded.append(replace(passage, superseded_by=successor))
        return current + superseded

    def _passage(self, number: int, score: float, cosine: float) -> Passage:
        chunk = self._corpus.chunks[number]
        return Passage(
            chunk_id=chunk.id,
            document=chunk.document,
            document_digest=chunk.document_digest,
            title=chunk.title,
            heading=chunk.heading,
            text=chunk.text,
            start=chunk.start,
            end=chunk.end,
            effective=chunk.effective,
            score=score,
            cosine=cosine,
        )

    async def _ranked(self, question: str, candidates: list[Passage], budget: int) -> list[Passage]:
        """Reorder the first `budget` candidates by the cross-encoder and the fused score together."""
        head, rest = candidates[:budget], candidates[budget:]
        if self._models.reranker is None or not head:
            return candidates
        logits = await self._models.reranker.score(question, [item.indexed_text() for item in head])
        weight = self._policy.rerank_weight
        combined = weight * standard_scores(logits.astype(np.float64)) + (1 - weight) * standard_scores(
            np.array([item.score for item in head], np.float64)
        )
        scored = [
            replace(item, rerank=float(logit), score=float(score))
            for item, logit, score in zip(head, logits, combined, strict=True)
        ]
        # Sorting is stable and False sorts first: a superseded passage stays behind every current one.
        scored.sort(key=lambda item: (item.superseded_by is not None, -item.score))
        return scored + rest

    def _part(self, question: str, passages: list[Passage]) -> QuestionPart:
        if not passages:
            return QuestionPart(question, (), 0.0, answerable=False)
        probability = self._policy.answerable.probability(signals_of(passages))
        return QuestionPart(
            question, tuple(passages), probability, answerable=probability >= self._policy.answerable.threshold
        )


def signals_of(passages: Sequence[Passage]) -> Signals:
    """Return what answerability is judged by: the strongest of each signal among the first passages (best first)."""
    head = passages[:_JUDGED]
    return Signals(
        cosine=max(item.cosine for item in head),
        rerank=max(item.rerank for item in head),
        coverage=max(item.coverage for item in head),
    )


def _interleaved(parts: Sequence[QuestionPart], limit: int) -> tuple[Passage, ...]:
    """Take the parts' passages in turn, best first, each chunk once; every part keeps at least its best."""
    found: dict[str, Passage] = {}
    for rank in range(max(len(part.passages) for part in parts)):
        for part in parts:
            if rank < len(part.passages) and (len(found) < limit or rank == 0):
                found.setdefault(part.passages[rank].chunk_id, part.passages[rank])
    return tuple(found.values())
