"""`cache`, `memory`, `shadow`: what the gateway keeps between requests, an environment's own business."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section

_RouteName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class RouteCache(Section):
    """How one route's answers are kept; a route that is not named keeps none."""

    ttl_s: Annotated[float, Field(gt=0, le=2_592_000)] = 3600.0
    """Seconds that an answer is kept."""
    always: bool = False
    """Keep answers to requests that are not deterministic too (neither temperature 0 nor a seed)."""
    tool_calls: bool = False
    """Keep answers that call tools."""
    semantic: bool = False
    """Answer from another wording of the same question; takes effect once `shipway cache calibrate` has run."""
    follow_s: Annotated[float, Field(ge=0, le=600)] = 30.0
    """Seconds that a request waits for the answer of an equal one before it asks the engine itself."""


class Cache(Section):
    """Answers that are given again; off for every route that is not named here."""

    routes: dict[_RouteName, RouteCache] = Field(default_factory=dict)
    """The routes whose answers are kept."""
    store: Literal["memory", "redis"] = "memory"
    """Where: `memory` is each worker's own, `redis` is shared by all gateways (section `redis`)."""
    max_bytes: Annotated[int, Field(ge=1_000_000)] = 67_108_864
    """Memory of each worker's answers (store memory); what was used longest ago goes first."""
    max_answer_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    """A larger answer is not kept."""
    embedding: str | None = None
    """The model that compares questions (`shipway models list`); by default `corpus.embedding`."""
    pairs: str | None = None
    """A file of labelled questions for the calibration, JSON lines `{"a": ..., "b": ..., "same": true}`."""
    max_false_hit_rate: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """The most wrong answers from another wording that a calibration may allow, with 95 % confidence."""


class RouteMemory(Section):
    """What one route remembers of a conversation."""

    ttl_s: Annotated[float, Field(gt=0, le=2_592_000)] = 3600.0
    """Seconds after the last turn."""
    max_turns: Annotated[int, Field(ge=1, le=200)] = 20
    """Questions with their answers."""
    max_chars: Annotated[int, Field(ge=100, le=1_000_000)] = 16_000
    """Characters of all of them."""


class Memory(Section):
    """What was said before, for clients that send one message at a time; off for every route not named here."""

    routes: dict[_RouteName, RouteMemory] = Field(default_factory=dict)
    """The chat routes that remember; a request must name its conversation."""
    store: Literal["memory", "state", "redis"] = "state"
    """Where: `memory` is each worker's own, `state` the installation's store, `redis` is shared by all gateways."""


class Shadow(Section):
    """Copies of requests for a release that no user sees; `shipway shadow set` starts them."""

    max_queued: Annotated[int, Field(ge=1, le=10_000)] = 64
    """Copies that wait in each worker; one more is dropped and counted."""
    max_active: Annotated[int, Field(ge=1, le=64)] = 2
    """Copies that each worker serves at a time."""
    keep_answers: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Pairs of answers that each worker keeps for comparison, masked; 0 keeps the records alone."""
