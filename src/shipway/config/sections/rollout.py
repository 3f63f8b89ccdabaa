"""`rollout`: how a candidate gets traffic and what is counted against it."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section


class CanaryStep(Section):
    """One step of a canary."""

    weight: Annotated[float, Field(gt=0, le=1)]
    """Share of conversations, 0.1 is 10 %."""
    min_conversations: Annotated[int, Field(ge=0)] = 0
    """Conversations of both arms, first seen at this weight, before the next step."""
    min_bake_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds that this step lasts at least."""
    max_s: Annotated[float, Field(gt=0)] | None = None
    """After this without a verdict the rollout pauses and asks."""


class GuardrailLimits(Section):
    """Fixed limits beside the statistics."""

    max_error_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the candidate's requests that may fail."""
    min_samples: Annotated[int, Field(ge=1)] = 100
    """Requests of the candidate before that share counts."""


class RolloutPlan(Section):
    """How a candidate gets traffic and what is counted against it."""

    strategy: Literal["canary"] = "canary"
    """How traffic moves."""
    steps: tuple[CanaryStep, ...] = (
        CanaryStep(weight=0.10),
        CanaryStep(weight=0.25),
        CanaryStep(weight=0.50),
        CanaryStep(weight=1.0),
    )
    """The candidate's share, step by step; the last one is everybody."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Probability of rolling back a candidate that is no worse, over the whole rollout."""
    promote_alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Probability of promoting one with `harm_ratio` times stable's bad events and at least `harmless_rate`."""
    harm_ratio: Annotated[float, Field(gt=1)] = 1.5
    """The ratio of bad events that must be excluded before everybody gets the candidate, or see `harmless_rate`."""
    harmless_rate: Annotated[float, Field(gt=0, lt=1)] | None = 0.05
    """Promote as well when provably fewer of the candidate's conversations are bad; null compares with stable only."""
    events: tuple[str, ...] = ("error", "timeout", "abstained", "unsupported")
    """What counts against the candidate, at most once a conversation."""
    guardrails: GuardrailLimits = GuardrailLimits()
    """Fixed limits beside the statistics."""
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """How long requests in flight on a withdrawn release may go on."""
    dead_man_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds of silence of the control plane after which candidates get no traffic."""
    deadline_s: Annotated[float, Field(gt=0)] = 86_400.0
    """Seconds after which an undecided rollout pauses and asks."""
    on_no_data: Literal["hold", "abort"] = "hold"
    """What to do while the candidate gets no requests."""
