"""The technical parts of serving a release on this machine; implements `services.runtimes.RuntimeFactory`."""

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import anyio

from shipway.adapters.token_counts.counters import GgufTokens, TokensWhenNeeded
from shipway.config.environment import process_environment
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.core.ids import Digest
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.gateway.budgeter import EstimatedTokens
from shipway.gateway.model import TokenCounter
from shipway.services.application import Application
from shipway.services.engines import engine_address
from shipway.services.local import EMBEDDED_ENGINES
from shipway.services.running import Endpoints
from shipway.services.runtimes import Engine

if TYPE_CHECKING:
    from shipway.entrypoints.answer_parts import AnswerParts
    from shipway.rag.answer import Generator
    from shipway.rag.focus import SentenceModels
    from shipway.rag.ports import PassageSource

_ANSWER_PARTS = "shipway.entrypoints.answer_parts"


class LocalRuntimeFactory:
    """Where models are served here; what answering from documents needs is loaded when a release needs it."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._answers: AnswerParts | None = None
        self._counters: dict[str, TokenCounter] = {}

    async def passages(self, corpus: Digest, retrieval: Mapping[str, Any]) -> "PassageSource":
        """Open a corpus for questions."""
        await anyio.to_thread.run_sync(import_module, _ANSWER_PARTS)
        return await self._answering().passages(corpus, retrieval)

    async def sentence_models(self, corpus: Digest, retrieval: Mapping[str, Any]) -> "SentenceModels":
        """Return the models that retrieval uses too."""
        return await self._answering().sentence_models(corpus, retrieval)

    def engine(self, alias: str, model: Mapping[str, Any]) -> Engine:
        """Return where a model alias is served."""
        entry = self._app.project.models.get(alias)
        if entry is None:
            raise NotFoundError(f"this environment has no model {alias!r}", hint=f"add models.{alias} to shipway.yaml")
        if model["engine"] in EMBEDDED_ENGINES:
            endpoints = Endpoints.read(self._app.workspace)
            url = endpoints.engines.get(alias) if endpoints else None
            if url is None:
                hint = f"start it with `shipway up`; `shipway logs engine-{alias}` says why it ended"
                raise UnavailableError(f"engine {alias!r} is not running", hint=hint)
            return Engine(url, model["model"], health_url=url.removesuffix("/v1") + "/health", embedded=True)
        served = entry.model_copy(update={"engine": model["engine"], "model": model["model"]})
        found, secret = engine_address(served, root=self._app.loaded.root, environ=process_environment())
        probed = None if found.probe_with_key else found.health_url
        key_header = found.key[0][0] if found.key else "authorization"
        made = Engine(found.base, model["model"], secret, probed, url_query=found.query, key_header=key_header)
        return self._replicated(alias, made)

    def _replicated(self, alias: str, engine: Engine) -> Engine:
        """Return an engine with the further addresses that this environment has for its model."""
        found = self._app.project.routing.replicas.get(alias)
        if found is None:
            return engine
        urls = dict.fromkeys((engine.base_url, *(url.rstrip("/") for url in found.base_urls)))
        chars = found.prefix_chars if found.balance == "prefix-affinity" else 0
        return replace(engine, replicas=tuple(urls), affinity_chars=chars)

    def token_counter(self, alias: str, model: Mapping[str, Any]) -> TokenCounter:
        """Return the counter of a model; releases that use the same model share it."""
        del alias
        if model["engine"] != "llamacpp":
            return EstimatedTokens()
        name = model["model"]
        if name not in self._counters:
            path = LocalModelFiles().path(name, self._app.loaded.root)
            self._counters[name] = TokensWhenNeeded(lambda: GgufTokens(path))
        return self._counters[name]

    def generator(self, engine: Engine, decoding: Mapping[str, Any]) -> "Generator":
        """Return a generator over an engine; releases with the same decoding share its connections."""
        return self._answering().generator(engine, decoding)

    async def close(self) -> None:
        """Close every connection."""
        if self._answers is not None:
            await self._answers.close()

    def _answering(self) -> "AnswerParts":
        if self._answers is None:
            self._answers = cast("AnswerParts", import_module(_ANSWER_PARTS).AnswerParts(self._app))
        return self._answers
