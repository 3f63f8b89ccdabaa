"""`routing`: which model serves a request, and what happens when it cannot.

Rules, splits, fallbacks and escalation decide an answer and are therefore part of the release; replicas, retries and
hedging are an environment's own business.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section

Weight = Annotated[float, Field(gt=0)]
HeaderName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class RoutingRule(Section):
    """One rule; all its conditions must hold. The first rule that matches decides."""

    route: tuple[str, ...] | str | None = None
    """Keys of `routes`; all routes without it."""
    min_chars: Annotated[int, Field(ge=0)] | None = None
    """Characters of the input at least."""
    max_chars: Annotated[int, Field(ge=0)] | None = None
    """Characters of the input at most."""
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    """Estimated tokens of the input (a quarter of its characters) at least."""
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    """Estimated tokens of the input at most."""
    min_complexity: Annotated[float, Field(ge=0, le=1)] | None = None
    """Complexity of the last user message, 0 to 1, at least."""
    max_complexity: Annotated[float, Field(ge=0, le=1)] | None = None
    """Complexity of the last user message at most."""
    tenant: tuple[str, ...] | str | None = None
    """Tenants of the caller's key."""
    header: dict[HeaderName, str] = Field(default_factory=dict)
    """Request headers (names in lower case) and the values they must have."""
    flag: str | None = None
    """A feature flag: with `to` it must be true; without `to` its value names the model, or is {model, prompt}."""
    to: str | None = None
    """A key of `models` or of `routing.splits`."""
    prompt: str | None = None
    """A key of `prompts` that replaces the route's own."""

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if self.to is None and self.prompt is None and self.flag is None:
            raise ValueError("a rule needs `to`, `prompt` or a `flag` whose value names the model")
        for low, high, name in (
            (self.min_chars, self.max_chars, "chars"),
            (self.min_tokens, self.max_tokens, "tokens"),
            (self.min_complexity, self.max_complexity, "complexity"),
        ):
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{name} {low:g} is above max_{name} {high:g}, so the rule can never match")
        return self


class Escalation(Section):
    """The small model answers first; an uncertain answer is given by a larger one instead."""

    to: str
    """A key of `models`: who answers then."""
    above: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Uncertainty, 0 to 1, above which the answer is not used."""
    logprobs: bool = True
    """Ask the engine for token probabilities; without them only empty answers and refusals count as uncertain."""


class Replicas(Section):
    """Several engines that serve the same model."""

    base_urls: Annotated[tuple[str, ...], Field(min_length=1)]
    """Where they listen, up to and including `/v1`, beside the model's own `base_url`."""
    balance: Literal["least-busy", "prefix-affinity"] = "least-busy"
    """least-busy takes the one with fewer requests of two; prefix-affinity sends equal beginnings to the same one."""
    prefix_chars: Annotated[int, Field(ge=16, le=100_000)] = 512
    """prefix-affinity: characters of system prompt and messages that decide."""


class Retries(Section):
    """How often an engine is asked again, always before the first byte of an answer."""

    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """Attempts at one model, the first included."""
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the requests of the last ten seconds that may be retries; beyond it none is made."""


class Hedging(Section):
    """A second try beside a slow first one; the faster answer counts and only it is charged."""

    on: bool = False
    """Hedge embeddings and short calls at temperature 0."""
    max_share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """Share of requests that may be sent twice."""
    max_tokens: Annotated[int, Field(ge=1)] = 32
    """Chat calls of more output tokens are never hedged."""


class Routing(Section):
    """Which model serves a request, and what happens when it cannot."""

    default: str | None = None
    """Who serves what no rule matches; without it the route's own model."""
    rules: tuple[RoutingRule, ...] = ()
    """In order; the first that matches decides."""
    splits: dict[str, dict[str, Weight]] = Field(default_factory=dict)
    """Named weights over models; they sum to 1 or to 100. A conversation keeps its model."""
    fallbacks: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """By model: who is asked next when it cannot answer."""
    escalate: dict[str, Escalation] = Field(default_factory=dict)
    """By model: who answers instead when its answer is uncertain."""
    replicas: dict[str, Replicas] = Field(default_factory=dict)
    """By model: further engines that serve it."""
    retries: Retries = Retries()
    """How often an engine is asked again."""
    hedging: Hedging = Hedging()
    """A second try beside a slow first one."""
