"""Answers from documents: the gateway's rag routes, the CLI and the evaluations call this.

Retrieve → abstain when nothing answers → let the model phrase the decisive sentences → check its words
against the passage → quote the sentences instead when the check fails, and those that its words leave out in any case.
A question of several parts is answered as far as it goes: a part that nothing answers is refused by name. Citations are
the system's, never the model's: they name the passage that was used, which the principal may read because retrieval
found it for that principal.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from shipway.core.errors import ConfigError
from shipway.core.principal import Principal
from shipway.core.record import ABSTAINED, FALLBACK, UNSUPPORTED
from shipway.rag.compose import Message, Prompt, compose, estimate_tokens
from shipway.rag.focus import Evidence, Sentence, SentenceModels, find_evidence, joined
from shipway.rag.model import Passage, QuestionPart, Retrieval
from shipway.rag.ports import PassageSource
from shipway.rag.support import Support, check_support, says, sentences

_CUT_OFF = "length"
_ENDS = (".", "!", '."', ".)")


@dataclass(frozen=True, slots=True)
class Generation:
    """What a model generated; `tokens_cached` are those of `tokens_in` that the engine had read before."""

    text: str
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    finish_reason: str


class Generator(Protocol):
    """Generates text; `adapters/openai_http` asks any OpenAI-compatible engine."""

    async def generate(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
    ) -> Generation:
        """Return the reply to a chat.

        Raises:
            UnavailableError: the engine cannot be reached, is too slow (DeadlineError) or fails (UpstreamError).
        """
        ...


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How answers are made: the answering part of a release's policy.

    `max_prompt_tokens` and `max_new_tokens` bound each call of the model; a prompt's own `max_tokens` may be lower.
    """

    refusal: str = "I don't know. I could not find this in the documents you may read."
    top_k: int = 5
    max_prompt_tokens: int = 1500
    max_new_tokens: int = 96
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer stands; `start` and `end` are character offsets into the document, `quote` is what is there."""

    index: int
    document: str
    title: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of all model calls of an answer."""

    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer.

    `retrieved` are the documents of the passages found, best first, each once. `supported` says whether the passages
    support the model's own words, before any repair; None when no model was asked. `model_text` are those words: for
    evaluations only, never to be logged or sent. `reasons` say what the check found, without the user's text.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    events: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    timings_ms: dict[str, float] = field(default_factory=dict)
    retrieved: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
    model_text: str = ""
    supported: bool | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _PartAnswer:
    question: str
    text: str
    evidence: Evidence
    generation: Generation
    support: Support
    timings_ms: dict[str, float]


class Answerer:
    """Answers questions with one prompt, one model and one corpus; safe to share between requests.

    `models` find the decisive sentences.
    """

    def __init__(
        self,
        passages: PassageSource,
        generator: Generator,
        prompt: Prompt,
        settings: AnswerSettings,
        models: SentenceModels | None = None,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        missing = prompt.missing_placeholders()
        if missing:
            names = ", ".join("{" + name + "}" for name in missing)
            problem = f"prompt {prompt.name!r} version {prompt.version}: user lacks {names}"
            raise ConfigError([problem], hint="a prompt of a rag route shows the model both")
        self._passages = passages
        self._generator = generator
        self._prompt = prompt
        self._settings = settings
        self._models = models or SentenceModels()
        self._monotonic_s = monotonic_s
        self._count_tokens: Callable[[str], int] = getattr(generator, "count_tokens", estimate_tokens)

    @property
    def refusal(self) -> str:
        """Return what is said when nothing may be."""
        return self._settings.refusal

    async def answer(self, question: str, principal: Principal) -> Answer:
        """Answer a question from what the principal may read; not knowing is an answer.

        Raises:
            UsageError: the question is empty or too long.
            UnavailableError: the engine cannot answer now.
        """
        started_s = self._monotonic_s()
        found = await self._passages.retrieve(question, principal, top_k=self._settings.top_k)
        timings_ms = dict(found.timings_ms)
        timings_ms["retrieve"] = (self._monotonic_s() - started_s) * 1000
        known = [part for part in found.parts if part.answerable and part.passages]
        if not known:
            return self._abstained(found, self._totalled(timings_ms, started_s))
        parts = [await self._part(part) for part in known]
        for part in parts:
            for stage, spent_ms in part.timings_ms.items():
                timings_ms[stage] = timings_ms.get(stage, 0.0) + spent_ms
        answer = _assembled(parts, found, self._totalled(timings_ms, started_s))
        refused = [part.question for part in found.parts if part not in known]
        return replace(answer, text=" ".join([answer.text, *(f"{part} {self._settings.refusal}" for part in refused)]))

    async def _part(self, part: QuestionPart) -> _PartAnswer:
        focus_s = self._monotonic_s()
        evidence = await find_evidence(part.question, part.passages, self._models)
        generate_s = self._monotonic_s()
        generation = await self._generate(part.question, evidence)
        check_s = self._monotonic_s()
        text = spoken(generation)
        shown = [item.text for item in evidence.ranked if item in evidence.shown]
        support = check_support(part.question, text, evidence.passage.text, shown)
        timings_ms = {
            "focus": (generate_s - focus_s) * 1000,
            "generate": (check_s - generate_s) * 1000,
            "check": (self._monotonic_s() - check_s) * 1000,
        }
        return _PartAnswer(part.question, text, evidence, generation, support, timings_ms)

    async def _generate(self, question: str, evidence: Evidence) -> Generation:
        messages = compose(
            self._prompt,
            evidence.text,
            question,
            max_tokens=self._settings.max_prompt_tokens,
            count_tokens=self._count_tokens,
        )
        return await self._generator.generate(
            messages,
            max_tokens=min(self._prompt.max_tokens, self._settings.max_new_tokens),
            temperature=self._settings.temperature,
            seed=self._settings.seed,
            stop=self._settings.stop,
        )

    def _abstained(self, found: Retrieval, timings_ms: dict[str, float]) -> Answer:
        return Answer(
            text=self._settings.refusal,
            events=(ABSTAINED,),
            timings_ms=timings_ms,
            retrieved=_documents(found),
            passages=found.passages,
        )

    def _totalled(self, timings_ms: dict[str, float], started_s: float) -> dict[str, float]:
        return {**timings_ms, "total": (self._monotonic_s() - started_s) * 1000}


def spoken(generation: Generation) -> str:
    """Return what the model said, without a question it repeats and without the sentence the token limit cut off."""
    said = [piece for piece in sentences(generation.text) if not piece.endswith("?")]
    if generation.finish_reason == _CUT_OFF and len(said) > 1 and not said[-1].endswith(_ENDS):
        said.pop()
    return " ".join(said)


def _assembled(parts: Sequence[_PartAnswer], found: Retrieval, timings_ms: dict[str, float]) -> Answer:
    said: list[str] = []
    cited: dict[tuple[str, int, int], Citation] = {}
    for text, passage, used in (quote for part in parts for quote in _quotes(part)):
        found_there = _citation(len(cited) + 1, passage, used)
        # What stands at a place that is cited already is no second source.
        citation = cited.setdefault((found_there.document, found_there.start, found_there.end), found_there)
        said.append(f"{text} [{citation.index}]")
    supported = all(part.support.supported for part in parts)
    return Answer(
        text=" ".join(said),
        citations=tuple(cited.values()),
        events=() if supported else (UNSUPPORTED, FALLBACK),
        usage=Usage(
            tokens_in=sum(part.generation.tokens_in for part in parts),
            tokens_cached=sum(part.generation.tokens_cached for part in parts),
            tokens_out=sum(part.generation.tokens_out for part in parts),
        ),
        timings_ms=timings_ms,
        retrieved=_documents(found),
        passages=found.passages,
        model_text="\n".join(part.generation.text for part in parts),
        supported=supported,
        reasons=tuple(reason for part in parts for reason in part.support.reasons),
    )


def _quotes(part: _PartAnswer) -> Iterator[tuple[str, Passage, tuple[Sentence, ...]]]:
    """Yield what is said about a part with the passage and the sentences that it rests on.

    First the model's words and the shown sentences that they do not say, or those sentences alone when the words are
    not supported; then what else was found.
    """
    evidence = part.evidence
    if part.support.supported:
        yield part.text, evidence.passage, evidence.shown
        unsaid = tuple(item for item in evidence.shown if not says(part.text, item.text, part.question))
        if unsaid:
            yield joined(unsaid), evidence.passage, unsaid
    else:
        yield evidence.text, evidence.passage, evidence.shown
    for passage, sentences_used in evidence.related:
        yield joined(sentences_used), passage, sentences_used


def _citation(index: int, passage: Passage, used: Sequence[Sentence]) -> Citation:
    """Cite from the first to the last sentence that was used, so that the offsets point at one place."""
    start = min((item.start for item in used), default=passage.start)
    end = max((item.end for item in used), default=passage.end)
    quote = passage.text[start - passage.start : end - passage.start]
    return Citation(index, passage.document, passage.title, start, end, quote)


def _documents(found: Retrieval) -> tuple[str, ...]:
    return tuple(dict.fromkeys(passage.document for passage in found.passages))
