"""The collaborators of judges: models on this machine and engines that are asked over HTTP.

The models' libraries are loaded when a judge needs them: `eval run` imports this module for every evaluation.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import cast

import anyio.to_thread

from shipway.adapters.openai_http.generator import OpenAiGenerator
from shipway.entrypoints.runtime_factory import LocalRuntimeFactory
from shipway.rag.answer import Generator
from shipway.rag.ports import Embedder, Reranker
from shipway.services.application import Application
from shipway.services.judges.embedded import EMBEDDING, RERANKER

_RAG_PARTS = "shipway.entrypoints.rag_parts"


@dataclass(frozen=True, slots=True)
class LocalJudgeParts:
    """Implements `services.judges.building.JudgeParts` for one project."""

    app: Application

    async def embedder(self) -> Embedder:
        """Load the embedding model."""
        parts = await anyio.to_thread.run_sync(import_module, _RAG_PARTS)
        return cast("Embedder", await anyio.to_thread.run_sync(parts.embedder, EMBEDDING))

    async def reranker(self) -> Reranker:
        """Load the reranker."""
        parts = await anyio.to_thread.run_sync(import_module, _RAG_PARTS)
        return cast("Reranker", await anyio.to_thread.run_sync(parts.reranker, RERANKER))

    @asynccontextmanager
    async def generator(self, alias: str, timeout_s: float) -> AsyncIterator[Generator]:
        """Open the model of an alias: the engine that `up` started, or the one that the project names."""
        entry = self.app.project.models[alias]
        engine = LocalRuntimeFactory(self.app).engine(alias, {"engine": entry.engine, "model": entry.model})
        found = OpenAiGenerator(
            engine.base_url + engine.url_query,
            engine.model,
            api_key=engine.api_key,
            timeout_s=timeout_s,
            key_header=engine.key_header,
        )
        try:
            yield found
        finally:
            await found.close()
