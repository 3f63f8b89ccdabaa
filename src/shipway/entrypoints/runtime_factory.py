"""The technical parts of serving a release on this machine; implements `services.runtimes.RuntimeFactory`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import anyio

from shipway.adapters.token_counts.counters import GgufTokens, TokensWhenNeeded
from shipway.config.environment import process_environment
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.gateway.budgeter import EstimatedTokens
from shipway.gateway.model import TokenCounter
from shipway.rag.compose import Prompt
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.engines import engine_address
from shipway.services.local import EMBEDDED_ENGINES
from shipway.services.running import Endpoints
from shipway.services.runtimes import Engine

if TYPE_CHECKING:
    from shipway.entrypoints.answer_parts import AnswerParts
    from shipway.rag.answer import Generator
    from shipway.services.answering import RouteAnswerer

_ANSWER_PARTS = "shipway.entrypoints.answer_parts"


@dataclass(slots=True)
class _Shared:
    """What does not depend on the configuration."""

    answers: "AnswerParts | None" = None
    counters: dict[str, TokenCounter] = field(default_factory=dict)


class LocalRuntimeFactory:
    """Where models are served here; what answering from documents needs is loaded when a release needs it."""

    def __init__(self, app: Application, before: "LocalRuntimeFactory | None" = None) -> None:
        """Make one; what `before` has opened for another configuration of the same project is shared with it."""
        self._app = app
        self._shared: _Shared = before._shared if before else _Shared()  # noqa: SLF001 - another of its own kind
        self._used: list[Generator] = []

    async def answerer(self, release: Release, route: Mapping[str, Any], prompt: Prompt) -> "RouteAnswerer":
        """Return what answers a rag route."""
        engine = self.engine(route["model"], release.manifest["models"][route["model"]])
        await anyio.to_thread.run_sync(import_module, _ANSWER_PARTS)
        generator = self.generator(engine, release.manifest["policy"]["decoding"])
        return await self._answering().answerer(release, route, prompt=prompt, generator=generator)

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
        counters = self._shared.counters
        if name not in counters:
            path = LocalModelFiles().path(name, self._app.loaded.root)
            counters[name] = TokensWhenNeeded(lambda: GgufTokens(path))
        return counters[name]

    def generator(self, engine: Engine, decoding: Mapping[str, Any]) -> "Generator":
        """Return a generator over an engine; releases with the same decoding share its connections."""
        found = self._answering().generator(engine, decoding)
        self._used.append(found)
        return found

    async def leave_to(self, others: "Collection[LocalRuntimeFactory]") -> None:
        """Close the connections that none of the others uses."""
        if self._shared.answers is not None:
            await self._shared.answers.keep_only([used for other in others for used in other._used])  # noqa: SLF001

    async def close(self) -> None:
        """Close every connection, those of other configurations too."""
        if self._shared.answers is not None:
            await self._shared.answers.close()

    def _answering(self) -> "AnswerParts":
        if self._shared.answers is None:
            self._shared.answers = cast("AnswerParts", import_module(_ANSWER_PARTS).AnswerParts(self._app))
        return self._shared.answers
