"""Answers from documents as a route of the gateway: a release's policy over `rag`. `runtimes`' factory loads this."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from shipway.core.ids import Digest
from shipway.core.principal import Principal
from shipway.core.record import ABSTAINED
from shipway.gateway.model import AnswerResult
from shipway.rag.answer import Answer, Answerer, AnswerSettings, Generator
from shipway.rag.compose import Prompt
from shipway.rag.focus import SentenceModels
from shipway.rag.ports import PassageSource
from shipway.registry.model import Release
from shipway.services.runtimes import prompt_version


class AnswerSources(Protocol):
    """What builds the technical parts; they are shared between releases that need the same."""

    async def passages(self, corpus: Digest, retrieval: Mapping[str, Any]) -> PassageSource:
        """Open a corpus for questions."""
        ...

    async def sentence_models(self, corpus: Digest, retrieval: Mapping[str, Any]) -> SentenceModels:
        """Return what finds the decisive sentences."""
        ...


@dataclass(frozen=True, slots=True)
class RouteAnswerer:
    """`rag`'s answerer behind the gateway's port; implements `gateway.ports.Answerer`."""

    answerer: Answerer
    model: str
    prompt_version: str
    citation_required: bool = True

    async def answer(self, question: str, history: Sequence[Mapping[str, Any]], principal: Principal) -> AnswerResult:
        """Answer the question; what was said before is not used yet, because retrieval is by the question alone."""
        del history
        return self._result(await self.answerer.answer(question, principal))

    def _result(self, answer: Answer) -> AnswerResult:
        if self.citation_required and not answer.citations and ABSTAINED not in answer.events:
            # Answers are cited by construction; if that ever breaks, nothing uncited reaches a user.
            answer = replace(answer, text=self.answerer.refusal, events=(*answer.events, ABSTAINED))
        citations = tuple(
            {"index": c.index, "document": c.document, "title": c.title, "start": c.start, "end": c.end}
            for c in answer.citations
        )
        return AnswerResult(
            text=answer.text,
            citations=citations,
            events=answer.events,
            tokens_in=answer.usage.tokens_in - answer.usage.tokens_cached,
            tokens_cached=answer.usage.tokens_cached,
            tokens_out=answer.usage.tokens_out,
            model=self.model,
            prompt_version=self.prompt_version,
            retrieval_count=len(answer.retrieved),
            documents=tuple(dict.fromkeys(c.document for c in answer.citations)),
            timings_ms=answer.timings_ms,
        )


@dataclass(frozen=True, slots=True)
class AnswerMaker:
    """Makes the answerers of releases."""

    sources: AnswerSources
    monotonic_s: Callable[[], float]

    async def make(
        self, release: Release, route: Mapping[str, Any], *, prompt: Prompt, generator: Generator
    ) -> RouteAnswerer:
        """Return the answerer of a rag route."""
        policy = release.manifest["policy"]
        entry = release.manifest["models"][route["model"]]
        corpus = Digest(release.manifest["data"]["corpus"]["manifest"])
        settings = AnswerSettings(
            refusal=policy["safety"]["refusal"],
            top_k=policy["retrieval"]["top_k"],
            max_prompt_tokens=policy["budgets"]["max_prompt"],
            max_new_tokens=min(entry["max_out"], policy["budgets"]["max_new"]),
            temperature=policy["decoding"]["temperature"],
            seed=policy["decoding"]["seed"],
            stop=tuple(policy["decoding"]["stop"]),
        )
        passages = await self.sources.passages(corpus, policy["retrieval"])
        models = await self.sources.sentence_models(corpus, policy["retrieval"])
        answerer = Answerer(passages, generator, prompt, settings, models, monotonic_s=self.monotonic_s)
        version = prompt_version(release, route["prompt"])
        return RouteAnswerer(answerer, entry["model"], version, policy["safety"]["citation_required_rag"])
