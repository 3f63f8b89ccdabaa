"""A judge without keys: similarity, a reranker, and checks of numbers, names and negations, on this machine.

Implements `evals.ports.Judge`; `building` makes one. It reads word by word what a language model would read by
meaning: it finds wrong numbers, names and turned statements, and it takes a free paraphrase for unsupported more often
than people do. `benchmarks/study_judge.py` measures it (`benchmarks/results/judge.json`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from shipway.core.canonical import digest_json
from shipway.core.errors import UsageError
from shipway.evals.judge_prompts import evidence_of
from shipway.evals.judgement import Claim, JudgeIdentity, Judgement, JudgeRequest, claims_judgement
from shipway.rag.answerable import Coefficients, Signals
from shipway.rag.ports import Embedder, Reranker
from shipway.rag.support import Support, check_support, sentences
from shipway.services.judges.code import EMBEDDED_CODE, code_digest

EMBEDDING = "minilm-l6-v2-int8"
RERANKER = "ms-marco-minilm-l12-v2-int8"
SUPPORT = Coefficients(bias=-1.6212, cosine=0.7625, rerank=0.0482, coverage=1.2903, threshold=0.5)
"""Fitted by `benchmarks/study_judge.py` to 93 labelled answers of the help desk's calibration split: kappa 0.66 with
people on cases that had no part in the fit (95 %: 0.49 to 0.81); it finds 80 % of the wrong and 85 % of the right."""
LOGIT_LIMIT = 10.0
_RERANKED = 8
_TRIED_PASSAGES = 3
# What speaks against a statement whatever the models say; the other reasons are matters of wording or of completeness.
_AGAINST = ("number ", "name ", "drops a negation", "adds a negation", "goes in circles")
_NO_STATEMENT = "says nothing"
_QUESTION_AGAIN = "repeats the question"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sentence that speaks most for a statement, the passage it stands in, and what is known about both."""

    sentence: str
    signals: Signals
    support: Support

    @property
    def against(self) -> str:
        """The first thing that speaks against the statement; "" when nothing does."""
        return next((reason for reason in self.support.reasons if reason.startswith(_AGAINST)), "")

    @property
    def empty(self) -> bool:
        """Whether there is no statement."""
        return _NO_STATEMENT in self.support.reasons

    @property
    def open(self) -> bool:
        """Whether nothing is said that the question did not say: it may affirm or deny, which words do not show."""
        return not self.against and _QUESTION_AGAIN in self.support.reasons


class EmbeddedJudge:
    """Judges faithfulness, completeness and citations by statements, relevance by similarity, abstention by wording."""

    def __init__(self, name: str, embedder: Embedder, reranker: Reranker, support: Coefficients = SUPPORT) -> None:
        self._embedder = embedder
        self._reranker = reranker
        self._support = support
        body = {
            "kind": "embedded",
            "code": code_digest(EMBEDDED_CODE),
            "embedder": embedder.digest,
            "reranker": reranker.digest,
            "support": asdict(support),
        }
        self.identity = JudgeIdentity(name, digest_json(body))

    async def judge(self, request: JudgeRequest, *, repeat: int) -> Judgement:
        """Judge one answer; every repeat gives the same.

        Raises:
            UsageError: task `rubric`, which takes a language model.
        """
        del repeat
        case, output = request.case, request.output
        match request.task:
            case "faithfulness" | "citation":
                return await self._statements(request, sentences(output.answer), evidence_of(case, output))
            case "completeness":
                return await self._statements(request, sentences(case.reference or ""), (output.answer,))
            case "relevance":
                score = await self._similarity(case.question, output.answer)
                return Judgement(request.task, score, "similarity of question and answer")
            case "abstention":
                return Judgement(request.task, float(not case.unanswerable), "does not read as a refusal")
            case "rubric":
                raise UsageError(
                    "a judge of kind embedded cannot judge by a rubric", hint="use a judge of kind llm for it"
                )

    async def evidence(self, question: str, statements: Sequence[str], passages: Sequence[str]) -> list[list[Evidence]]:
        """Return the best evidence of each statement in its best passages, the best first."""
        pieces = [(number, piece) for number, text in enumerate(passages) for piece in sentences(text)]
        if not pieces or not statements:
            return [[] for _ in statements]
        vectors = await self._embedder.embed([*statements, *(piece for _, piece in pieces)])
        cosines = vectors[: len(statements)] @ vectors[len(statements) :].T
        found = []
        for row, statement in enumerate(statements):
            near = np.argsort(-cosines[row], kind="stable")[:_RERANKED]
            logits = await self._reranker.score(statement, [pieces[place][1] for place in near])
            best: dict[int, Evidence] = {}
            for place, logit in sorted(zip(near, logits, strict=True), key=lambda pair: -pair[1]):
                number, piece = pieces[place]
                if number not in best and len(best) < _TRIED_PASSAGES:
                    support = check_support(question, statement, passages[number])
                    held = max(-LOGIT_LIMIT, min(LOGIT_LIMIT, float(logit)))
                    best[number] = Evidence(piece, Signals(float(cosines[row][place]), held, support.score), support)
            found.append(list(best.values()))
        return found

    async def _statements(self, request: JudgeRequest, said: Sequence[str], passages: Sequence[str]) -> Judgement:
        statements = [text for text in said if not text.endswith("?")]
        found = await self.evidence(request.case.question, statements, passages)
        claims = [
            self._claim(statement, evidence)
            for statement, evidence in zip(statements, found, strict=True)
            if not any(item.empty for item in evidence)
        ]
        doubts = [claim.evidence for claim in claims if claim.supported is False]
        return claims_judgement(request.task, tuple(claims), doubts[0] if doubts else "")

    def _claim(self, statement: str, evidence: Sequence[Evidence]) -> Claim:
        """Judge a statement by the passage that speaks most for it."""
        for item in evidence:
            if item.open:
                return Claim(statement, None, "only repeats the question")
            if not item.against and self._support.probability(item.signals) >= self._support.threshold:
                return Claim(statement, supported=True, evidence=item.sentence)
        if not evidence:
            return Claim(statement, supported=False, evidence="there is nothing that could support it")
        return Claim(statement, supported=False, evidence=evidence[0].against or f"nearest: {evidence[0].sentence}")

    async def _similarity(self, first: str, second: str) -> float:
        vectors = await self._embedder.embed([first, second])
        return min(1.0, max(0.0, float(vectors[0] @ vectors[1])))
