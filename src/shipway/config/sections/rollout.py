"""`rollout`: how a candidate gets traffic and what is counted against it."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.rollout_evidence import MetricSettings, RulesSettings, WatchSettings
from shipway.config.sections.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
# Three years: a time that no rollout lives to see is a slip of the hand.
LONGEST_S = 100_000_000.0
Seconds = Annotated[float, Field(ge=0, le=LONGEST_S)]
PositiveSeconds = Annotated[float, Field(gt=0, le=LONGEST_S)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class CanaryStep(Section):
    """One step of a rollout."""

    weight: Share
    """Share of conversations, 0.1 is 10 %."""
    routes: dict[str, Share] = Field(default_factory=dict)
    """Routes with another share, such as `{chat: 0.1, ask: 0.05}`."""
    min_conversations: Annotated[int, Field(ge=0)] = 0
    """Conversations of both arms, first seen at this weight, before the next step."""
    min_bake_s: Seconds = 60.0
    """Seconds that this step lasts at least."""
    max_s: PositiveSeconds | None = None
    """After this without a verdict the rollout pauses and asks."""
    shadow: Share = 0.0
    """Share of the requests that stable answers of which the candidate gets a copy."""
    min_pairs: Annotated[int, Field(ge=0)] = 0
    """Copies compared with what users got, before the next step."""
    smoke: bool = False
    """Begin only when the candidate's smoke checks have passed."""
    approval: bool = False
    """Begin only when a person has agreed: `shipway rollout approve`."""
    windows: tuple[str, ...] = ()
    """Begin only in one of these, such as `Mon-Fri 09:00-17:00`; in `rollout.timezone`."""
    prove: bool | None = None
    """Rule out harm before the next step; by default only the step before everybody has to."""
    traffic: bool = True
    """False lets it pass without a conversation: its time and the candidate's health decide."""


class GuardrailLimits(Section):
    """Fixed limits beside the statistics."""

    max_error_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the candidate's requests that may fail."""
    min_samples: Annotated[int, Field(ge=1)] = 100
    """Requests of the candidate before that share counts."""


class FlagSegment(Section):
    """Callers who may get the candidate; what is left out means any."""

    tenants: tuple[str, ...] = ()
    """Their tenant is one of these."""
    groups: tuple[str, ...] = ()
    """They are in one of these groups."""
    keys: tuple[str, ...] = ()
    """They use one of these keys, by id."""


class RolloutPlan(Section):
    """How a candidate gets traffic and what is counted against it."""

    strategy: Literal["canary", "blue-green", "shadow", "rolling", "flag", "swap"] = "canary"
    """How traffic moves."""
    steps: Annotated[tuple[CanaryStep, ...], Field(min_length=1)] = (
        CanaryStep(weight=0.10),
        CanaryStep(weight=0.25),
        CanaryStep(weight=0.50),
        CanaryStep(weight=1.0),
    )
    """The candidate's share, step by step; the last one is everybody. Another strategy has steps of its own."""
    smoke: bool = False
    """Ask the candidate's smoke checks before it gets its first user."""
    smoke_file: str = ""
    """The checks, a YAML file; by default what fits the app."""
    approval: bool = False
    """Let a person agree before the candidate gets its first user."""
    ask_to_promote: bool = False
    """Let a person agree before everybody gets it for good."""
    windows: tuple[str, ...] = ()
    """Times of the week in which steps may begin, such as `Mon-Fri 09:00-17:00`."""
    timezone: str = "UTC"
    """The time zone of windows, such as `Europe/Berlin`."""
    bake_s: Seconds = 60.0
    """`blue-green`, `swap`: seconds of everybody before promotion; `rolling`: seconds a batch; `shadow`: of copies."""
    keep_s: Seconds = 1800.0
    """`blue-green`: seconds for which stable's processes are kept after the promotion."""
    batches: Annotated[int, Field(ge=1, le=20)] = 4
    """`rolling`: equal steps."""
    sample: Annotated[float, Field(gt=0, le=1)] = 0.1
    """`shadow`: share of requests that are copied."""
    min_pairs: Annotated[int, Field(ge=1)] = 100
    """`shadow`: copies compared at least."""
    segments: tuple[FlagSegment, ...] = ()
    """`flag`: who may get the candidate; one of several is enough."""
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
    metrics: dict[MetricName, MetricSettings | None] = Field(default_factory=dict)
    """What else must not get worse, such as `latency` or `cost`; null switches a built-in metric off."""
    rules: RulesSettings = RulesSettings()
    """Fixed rules over a time."""
    watch: WatchSettings = WatchSettings()
    """How the release is watched once everybody has it."""
    on_harm: Literal["rollback", "freeze"] = "rollback"
    """`freeze` keeps the weights where they are and asks."""
    start_timeout_s: PositiveSeconds = 120.0
    """How long a candidate's processes may take to become healthy."""
    unhealthy_s: Seconds = 10.0
    """How long a candidate with users may be unhealthy before it is withdrawn."""
    cooldown_s: Seconds = 600.0
    """How long a release that was rolled back by evidence may not be deployed again."""
    drain_s: Seconds = 30.0
    """How long requests in flight on a withdrawn release may go on."""
    dead_man_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds of silence of the control plane after which candidates get no traffic."""
    deadline_s: PositiveSeconds = 86_400.0
    """Seconds after which an undecided rollout pauses and asks."""
    on_no_data: Literal["hold", "abort", "replay"] = "hold"
    """Without requests for the candidate, in the end: pause and ask, go back, or ask the gate's cases first."""
