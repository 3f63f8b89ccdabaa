"""Releases made ready to serve: from a manifest to routes that answer. The gateway and the evaluation both use this.

What answers from documents is `services.answering`, which only the factory loads: its libraries are not for a gateway
of chat routes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from shipway.core.errors import NotFoundError, UnavailableError
from shipway.core.ids import ReleaseId
from shipway.gateway.model import RouteLimits, TokenBudget, TokenCounter
from shipway.gateway.ports import AnswerRoute, ChatRoute, HttpRoute, RouteRuntime
from shipway.gateway.route_plan import PromptChoice
from shipway.rag.compose import Message, Prompt, parse_prompt
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.releases import verified_blob
from shipway.services.route_plans import needed_aliases, route_plan

if TYPE_CHECKING:
    from shipway.rag.answer import Answerer, Generator
    from shipway.services.answering import RouteAnswerer


class RuntimeFactory(Protocol):
    """What builds the technical parts of a runtime; they are shared between releases that need the same."""

    async def answerer(self, release: Release, route: Mapping[str, Any], prompt: Prompt) -> "RouteAnswerer":
        """Return what answers a rag route."""
        ...

    def engine(self, alias: str, model: Mapping[str, Any]) -> "Engine":
        """Return where a model alias is served in this environment.

        Raises:
            NotFoundError: the environment does not have this alias.
            UnavailableError: its engine is not running.
        """
        ...

    def token_counter(self, alias: str, model: Mapping[str, Any]) -> TokenCounter:
        """Return what counts as this model does, or estimates where its tokenizer is not here."""
        ...

    def generator(self, engine: "Engine", decoding: Mapping[str, Any]) -> "Generator":
        """Return a generator over an engine."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """Where a model is served; `base_url` ends where `/chat/completions` begins.

    `replicas` are the addresses of all engines that serve it, when there are several.
    """

    base_url: str
    model: str
    api_key: str | None = None
    health_url: str | None = None
    embedded: bool = False
    replicas: tuple[str, ...] = ()
    affinity_chars: int = 0
    url_query: str = ""
    key_header: str = "authorization"


@dataclass(frozen=True, slots=True)
class LoadedRuntime:
    """A release ready to serve; implements `gateway.ports.ReleaseRuntime`."""

    release: Release
    routes: Mapping[str, RouteRuntime]

    def describe(self) -> dict[str, Any]:
        """Return parts, digests and the corpus manifest."""
        provenance = self.release.provenance
        return {
            "parts": self.release.part_digests(),
            "prompts": {name: entry["digest"] for name, entry in self.release.manifest["prompts"].items()},
            "models": {alias: entry["model"] for alias, entry in self.release.manifest["models"].items()},
            "corpus": self.release.manifest["data"]["corpus"],
            "commit": provenance.commit,
            "created_at_s": provenance.created_at_s,
        }

    async def close(self) -> None:
        """Free nothing: corpora, models and connections are shared and belong to the factory."""


@dataclass(frozen=True, slots=True)
class ReleaseRuntimes:
    """Implements `gateway.ports.ReleaseLoader`."""

    app: Application
    factory: RuntimeFactory

    async def load(self, release: ReleaseId) -> LoadedRuntime:
        """Make a release ready."""
        found = await self.app.releases.get(release)
        routes = {
            name: await self._planned(found, name, route) for name, route in found.manifest["policy"]["routes"].items()
        }
        return LoadedRuntime(found, routes)

    async def answerer(self, release: Release, route_name: str) -> "Answerer":
        """Return the answerer of a rag route."""
        return (await self._answerer(release, release.manifest["policy"]["routes"][route_name])).answerer

    async def chat(self, release: Release, route: Mapping[str, Any]) -> tuple["Generator", tuple[Message, ...]]:
        """Return the generator of a chat route and the messages that go before the user's."""
        engine = self.factory.engine(route["model"], release.manifest["models"][route["model"]])
        prompt = await self._prompt(release, route["prompt"]) if route["prompt"] else None
        generator = self.factory.generator(engine, release.manifest["policy"]["decoding"])
        return generator, prompt.prefix_messages() if prompt else ()

    async def _planned(self, release: Release, name: str, route: Mapping[str, Any]) -> RouteRuntime:
        """Return a route with the models that it may use: its rules' and, for locks, all others that are there."""
        if route["kind"] == "http":
            return await self._route(release, route)
        routing, models = release.manifest["policy"].get("routing", {}), release.manifest["models"]
        needed = needed_aliases(routing, name, route["model"], models)
        targets: dict[str, ChatRoute | AnswerRoute | HttpRoute] = {}
        for alias in models:
            try:
                targets[alias] = await self._route(release, {**route, "model": alias})
            except (NotFoundError, UnavailableError):
                if alias in needed:
                    raise
        prompts = await self._prompt_choices(release) if route["kind"] == "chat" and routing else {}
        plan = route_plan(routing, name, route["model"], targets=targets, prompts=prompts)
        own = targets.get(plan.own) or next(iter(targets.values()))
        return own if isinstance(own, HttpRoute) else replace(own, plan=plan)

    async def _prompt_choices(self, release: Release) -> dict[str, PromptChoice]:
        """Return the prompts that a rule or a flag may choose."""
        return {
            name: PromptChoice((await self._prompt(release, name)).prefix_messages(), prompt_version(release, name))
            for name in release.manifest["prompts"]
        }

    async def _route(self, release: Release, route: Mapping[str, Any]) -> RouteRuntime:
        policy = release.manifest["policy"]
        if route["kind"] == "http":
            return HttpRoute(timeout_s=route["timeout_s"], health_path=route["health"])
        entry = release.manifest["models"][route["model"]]
        engine = self.factory.engine(route["model"], entry)
        max_out = min(entry["max_out"], policy["budgets"]["max_new"])
        limits = RouteLimits(deadline_s=None, max_output_tokens=max_out)
        if route["kind"] == "rag":
            decoding = policy["decoding"]
            return AnswerRoute(
                await self._answerer(release, route),
                limits,
                health_url=engine.health_url,
                model_alias=route["model"],
                is_deterministic=decoding["temperature"] == 0 or decoding["seed"] is not None,
            )
        prompt = await self._prompt(release, route["prompt"]) if route["prompt"] else None
        return ChatRoute(
            engine_base_url=engine.base_url,
            upstream_model=engine.model,
            api_key=engine.api_key,
            prefix_messages=prompt.prefix_messages() if prompt else (),
            decoding=openai_decoding(policy["decoding"], embedded=engine.embedded) | {"max_tokens": max_out},
            limits=limits,
            prompt_version=prompt_version(release, route["prompt"]) if route["prompt"] else "",
            health_url=engine.health_url,
            replicas=engine.replicas,
            affinity_chars=engine.affinity_chars,
            url_query=engine.url_query,
            key_header=engine.key_header,
            budget=self._budget(route["model"], entry, policy, engine),
        )

    def _budget(self, alias: str, entry: Mapping[str, Any], policy: Mapping[str, Any], engine: "Engine") -> TokenBudget:
        """Return what a prompt may have; of an embedded engine the context window is known and counts too."""
        limit = policy["budgets"]["max_prompt"]
        if engine.embedded:
            limit = max(1, min(limit, entry["max_ctx"] - min(entry["max_out"], policy["budgets"]["max_new"])))
        return TokenBudget(limit, self.factory.token_counter(alias, entry))

    async def _answerer(self, release: Release, route: Mapping[str, Any]) -> "RouteAnswerer":
        return await self.factory.answerer(release, route, await self._prompt(release, route["prompt"]))

    async def _prompt(self, release: Release, name: str) -> Prompt:
        entry = release.manifest["prompts"][name]
        data = await verified_blob(self.app, entry["digest"], f"release {release.id}: prompt {name}")
        return parse_prompt(data, entry["path"])


def openai_decoding(decoding: Mapping[str, Any], *, embedded: bool) -> dict[str, Any]:
    """Return the decoding section in the words of the OpenAI API; only embedded engines know a repetition penalty."""
    values: dict[str, Any] = {
        "temperature": decoding["temperature"],
        "top_p": decoding["top_p"],
        "seed": decoding["seed"],
    }
    if embedded:
        values["repeat_penalty"] = decoding["rep_penalty"]
    if decoding["stop"]:
        values["stop"] = list(decoding["stop"])
    return {name: value for name, value in values.items() if value is not None}


def prompt_version(release: Release, name: str) -> str:
    """Return a prompt's name and the first digits of its digest."""
    digest = str(release.manifest["prompts"][name]["digest"])
    return f"{name}@{digest.removeprefix('sha256:')[:12]}"
