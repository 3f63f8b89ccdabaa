"""The whole project file, and whether what one section names exists in another."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, model_validator

from shipway.config.cache_checks import cache_problems
from shipway.config.limit_checks import price_problems, rule_tenant_problems, tenant_problems
from shipway.config.pipeline_checks import stage_problems
from shipway.config.quality_checks import quality_problems
from shipway.config.routing_checks import routing_problems
from shipway.config.sections.auth import Auth
from shipway.config.sections.cache import Cache, Memory, Shadow
from shipway.config.sections.ci import Ci
from shipway.config.sections.contacts import Contact
from shipway.config.sections.corpus import Corpus, Retrieval
from shipway.config.sections.datasets import DatasetEntry
from shipway.config.sections.eval_targets import target_problems
from shipway.config.sections.evals import Evals
from shipway.config.sections.gates import Gate
from shipway.config.sections.judges import JudgeEntry
from shipway.config.sections.models import Decoding, ModelEntry
from shipway.config.sections.pipeline import Code, Stage
from shipway.config.sections.quality import Quality
from shipway.config.sections.redis import Redis
from shipway.config.sections.rollout import RolloutPlan
from shipway.config.sections.routes import Budgets, Rates, Route, Safety
from shipway.config.sections.routing import Routing
from shipway.config.sections.section import Section
from shipway.config.sections.server import Server
from shipway.config.sections.telemetry import Logging, Telemetry
from shipway.config.sections.tenants import KeyLimits, Tenant
from shipway.config.sections.webhooks import Webhooks

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Problem = tuple[tuple[str | int, ...], str]
"""A key path and what is wrong there."""


WITHOUT_REFERENCES = {"references": "unchecked"}
"""The validation context in which sections may name what others do not have; `salvage` looks at the rest with it."""


class BrokenReferencesError(ValueError):
    """Sections name what other sections do not have; `loading` turns each problem into a line with its place."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in problems))
        self.problems = problems


class Project(Section):
    """`shipway.yaml`: what one app is, how it is judged and how it is served."""

    app: Name
    """The app's name; part of every release."""
    code: Code = Code()
    """Which files are the app's own code."""
    models: dict[Name, ModelEntry] = Field(default_factory=dict)
    """What generates, by alias; routes name an alias."""
    decoding: Decoding = Decoding()
    """How tokens are chosen."""
    prompts: dict[Name, str] = Field(default_factory=dict)
    """Prompt files by name, relative to the project file."""
    routes: dict[Name, Route]
    """The entry points by name; OpenAI clients name one in `model`."""
    routing: Routing = Routing()
    """Which model serves a request, and what happens when it cannot."""
    budgets: Budgets = Budgets()
    """Token budgets of one request, and money."""
    cache: Cache = Cache()
    """Which routes' answers are given again."""
    memory: Memory = Memory()
    """Which chat routes remember a conversation."""
    shadow: Shadow = Shadow()
    """How copies of requests for a release that no user sees are held in check."""
    rates: Rates = Rates()
    """Limits on requests and tokens."""
    tenants: dict[Name, Tenant] = Field(default_factory=dict)
    """The tenants by name, with limits of their own; when there are any, keys and documents belong to one of them."""
    key_limits: dict[Name, KeyLimits] = Field(default_factory=dict)
    """Limits of single keys, by the id that `shipway key list` shows."""
    auth: Auth = Auth()
    """Who may call beside the holders of keys."""
    redis: Redis | None = None
    """Where gateways on several hosts count together."""
    safety: Safety = Safety()
    """What an answer must satisfy."""
    corpus: Corpus | None = None
    """The documents that rag routes answer from."""
    retrieval: Retrieval = Retrieval()
    """How passages are found."""
    datasets: dict[Name, DatasetEntry] = Field(default_factory=dict)
    """Cases by name, and what is checked of them."""
    judges: dict[Name, JudgeEntry] = Field(default_factory=dict)
    """Who gives an opinion on answers, by name."""
    evals: Evals = Evals()
    """The dataset a release is judged on."""
    gates: tuple[Gate, ...] = ()
    """What a release must show before users see it."""
    quality: Quality = Quality()
    """How answers are judged while they are served."""
    rollout: RolloutPlan = RolloutPlan()
    """How a candidate gets traffic and what is counted against it."""
    server: Server = Server()
    """Where the gateway listens."""
    logging: Logging = Logging()
    """What log lines hold."""
    telemetry: Telemetry = Telemetry()
    """Metrics and traces."""
    contacts: tuple[Contact, ...] = ()
    """Who is told when something goes wrong, in this order; runbooks print them."""
    pipeline: dict[Name, Stage] = Field(default_factory=dict)
    """The stages from commit to production, by name."""
    webhooks: Webhooks | None = None
    """Which pushes queue a run of the pipeline, for teams without CI."""
    ci: Ci = Ci()
    """On what a CI system runs the pipeline."""

    @model_validator(mode="after")
    def _references_exist(self, info: ValidationInfo) -> Self:
        if info.context == WITHOUT_REFERENCES:
            return self
        problems = [*self._route_problems(), *stage_problems(self.pipeline)]
        problems += routing_problems(self.routing, self.routes, self.models, self.prompts)
        has = {"has_corpus": self.corpus is not None, "has_redis": self.redis is not None}
        problems += cache_problems(self.cache, self.memory, self.routes, **has)
        problems += tenant_problems(self.tenants, self.key_limits, self.auth, self.corpus)
        problems += rule_tenant_problems(self.tenants, self.routing.rules)
        problems += price_problems(self.models, self.budgets, self.tenants, self.key_limits)
        problems += _missing(("evals", "route"), self.evals.route, self.routes, "routes")
        problems += _missing(("evals", "judge"), self.evals.judge, self.judges, "judges")
        problems += quality_problems(self.quality, self.routes, self.judges, asked=self.evals.route)
        problems += target_problems(("evals", "target"), self.evals.target, self.models, self.routes)
        for name, judge in self.judges.items():
            problems += _missing(("judges", name, "model"), judge.model, self.models, "models")
        if problems:
            raise BrokenReferencesError(problems)
        return self

    def _route_problems(self) -> Iterator[Problem]:
        if not self.routes:
            yield ("routes",), "an app needs at least one route"
        for name, route in self.routes.items():
            yield from _missing(("routes", name, "model"), route.model, self.models, "models")
            yield from _missing(("routes", name, "prompt"), route.prompt, self.prompts, "prompts")
            if route.kind == "rag" and self.corpus is None:
                yield ("routes", name, "kind"), "a route of kind rag needs a corpus section"


def _missing(
    path: tuple[str | int, ...], name: str | None, section: Mapping[str, Any], title: str
) -> Iterator[Problem]:
    if name is not None and name not in section:
        known = f"it has {', '.join(sorted(section))}" if section else "it is empty"
        yield path, f"{name!r} is not in {title} ({known})"
