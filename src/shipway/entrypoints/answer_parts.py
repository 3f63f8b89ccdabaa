"""The parts of a release that answers from documents; `runtime_factory` loads this module with the first such release.

Its libraries need a hundred megabytes, which a gateway of chat routes must not pay for.
"""

from collections.abc import Collection, Mapping
from typing import Any

import anyio

from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.core.ids import Digest
from shipway.entrypoints.rag_parts import embedder, index_formats, reranker
from shipway.rag.answer import Generator
from shipway.rag.compose import Prompt
from shipway.rag.focus import SentenceModels
from shipway.rag.index import OpenCorpus, open_corpus
from shipway.rag.ports import Embedder, PassageSource, Reranker
from shipway.rag.retrieve import RetrievalModels, RetrievalPolicy, Retriever
from shipway.rag.vector_memory import RememberingEmbedder
from shipway.registry.model import Release
from shipway.services.answering import AnswerMaker, RouteAnswerer
from shipway.services.application import Application
from shipway.services.runtimes import Engine, openai_decoding


class AnswerParts:
    """Shares corpora, models and connections between releases: what has the same digest is opened once."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = anyio.Lock()
        self._corpora: dict[Digest, OpenCorpus] = {}
        self._embedders: dict[str, Embedder] = {}
        self._rerankers: dict[str | None, Reranker | None] = {}
        self._generators: dict[tuple[Engine, tuple[tuple[str, Any], ...]], OpenAiGenerator] = {}

    async def answerer(
        self, release: Release, route: Mapping[str, Any], *, prompt: Prompt, generator: Generator
    ) -> RouteAnswerer:
        """Return the answerer of a rag route."""
        maker = AnswerMaker(self, self._app.clock.monotonic_s)
        return await maker.make(release, route, prompt=prompt, generator=generator)

    async def passages(self, corpus: Digest, retrieval: Mapping[str, Any]) -> PassageSource:
        """Open a corpus for questions."""
        opened = await self._corpus(corpus)
        models = RetrievalModels(await self._embedder(opened), await self._reranker(retrieval["reranker"]))
        return Retriever(opened, models, RetrievalPolicy.from_dict(retrieval), self._app.clock)

    async def sentence_models(self, corpus: Digest, retrieval: Mapping[str, Any]) -> SentenceModels:
        """Return the models that retrieval uses too."""
        embedder_of_corpus = await self._embedder(await self._corpus(corpus))
        return SentenceModels(embedder_of_corpus, await self._reranker(retrieval["reranker"]))

    async def _embedder(self, opened: OpenCorpus) -> Embedder:
        name = opened.manifest.embedding
        async with self._lock:
            if name not in self._embedders:
                self._embedders[name] = RememberingEmbedder(await anyio.to_thread.run_sync(embedder, name))
            return self._embedders[name]

    async def _reranker(self, name: str | None) -> Reranker | None:
        async with self._lock:
            if name not in self._rerankers:
                self._rerankers[name] = await anyio.to_thread.run_sync(reranker, name)
            return self._rerankers[name]

    async def _corpus(self, corpus: Digest) -> OpenCorpus:
        async with self._lock:
            if corpus not in self._corpora:
                self._corpora[corpus] = await open_corpus(self._app.workspace.corpora, corpus, index_formats())
            return self._corpora[corpus]

    def generator(self, engine: Engine, decoding: Mapping[str, Any]) -> Generator:
        """Return a generator over an engine; releases with the same decoding share its connections."""
        sent = openai_decoding(decoding, embedded=engine.embedded)
        extra: dict[str, Any] = {name: sent[name] for name in ("top_p", "repeat_penalty") if name in sent}
        key = (engine, tuple(extra.items()))
        if key not in self._generators:
            made = OpenAiGenerator(
                engine.base_url + engine.url_query,
                engine.model,
                api_key=engine.api_key,
                extra=extra,
                key_header=engine.key_header,
            )
            self._generators[key] = made
        return self._generators[key]

    async def keep_only(self, used: Collection[Generator]) -> None:
        """Close the connections of all other generators."""
        kept = {id(generator) for generator in used}
        for key, generator in list(self._generators.items()):
            if id(generator) not in kept:
                del self._generators[key]
                await generator.close()

    async def close(self) -> None:
        """Close every connection."""
        for generator in self._generators.values():
            await generator.close()
