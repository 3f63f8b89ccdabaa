"""`rollout.metrics`, `rollout.rules`, `rollout.watch`: what a candidate is judged on beside its bad conversations.

What is left out is as `shipway deploy REL --dry-run` prints it.
"""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section

Part = Annotated[float, Field(gt=0, lt=1)]
Kind = Literal["event", "slower", "over", "mean", "score", "low", "pair", "alone"]


class MetricSettings(Section):
    """One metric; a built-in one is changed by name, a new one needs a `kind`."""

    kind: Kind | None = None
    """What is measured: `event` conversations with one of `events`, `slower` than stable's `quantile`, `over` a
    `limit`, `low` observations below a `limit`, the `mean` of a figure, the mean `score` of observations, shadow pairs
    (`pair`), bad conversations where everybody is on the candidate (`alone`)."""
    share: Part | None = None
    """Its part of `rollout.alpha`."""
    of: str | None = None
    """The figure: `latency_ms`, `ttft_ms`, `cost_usd`, `tokens_in`, `tokens_out`; `quality`, `thumbs`, `safety`."""
    events: tuple[str, ...] | None = None
    """Events of kind `event`."""
    quantile: Part | None = None
    """Stable's quantile, frozen before the rollout; 0.95 is usual."""
    limit: Annotated[float, Field(gt=0)] | None = None
    """The limit of kinds `over` and `low`."""
    ratio: Annotated[float, Field(ge=1)] | None = None
    """How many times stable's rate is still no harm."""
    margin: Annotated[float, Field(ge=0)] | None = None
    """How much worse a mean may be: 0.5 is 50 % of a figure, 0.05 is 5 points of a score."""
    tolerance: Part | None = None
    """Kind `pair`: the drop that must be ruled out before users follow."""


class RuleSettings(Section):
    """A fixed rule: a limit over a time, and what happens when it is surely broken."""

    limit: Annotated[float, Field(gt=0)] | None = None
    """The limit."""
    window_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds looked back."""
    min_samples: Annotated[int, Field(ge=1)] | None = None
    """What there must be before it is judged."""
    action: Literal["rollback", "pause", "warn", "off"] | None = None
    """What happens; where stable breaks it as well a rollout never goes back."""


class RulesSettings(Section):
    """Fixed rules beside the statistics."""

    error_rate: RuleSettings = RuleSettings()
    """Share of failed requests; 5 % over 300 s with 100 requests."""
    p99_ms: RuleSettings = RuleSettings()
    """99th percentile of the latency; 5,000 ms over 300 s with 100 requests."""
    safety: RuleSettings = RuleSettings()
    """Share of requests with one of `safety_events`; 0.1 % over an hour with 1,000."""
    quality: RuleSettings = RuleSettings()
    """Mean judged quality; not below 0.8 over an hour with 500 scores."""
    error_increase: RuleSettings = RuleSettings()
    """Failed requests in points above stable's last day; 0.01, a warning."""
    p99_increase: RuleSettings = RuleSettings()
    """99th percentile above stable's last day; 20 %, a warning."""
    throughput_drop: RuleSettings = RuleSettings()
    """Requests a second below stable's last day; 10 %, a warning."""
    safety_events: tuple[str, ...] | None = None
    """Events that are a matter of safety, `unsafe` where none are named: events as for `rollout.events`, and those of
    guards (`unsafe`, `guard…`, `blocked…`), which nothing records in this version."""
    sure: Annotated[float, Field(ge=0, lt=1)] | None = None
    """How sure it must be that a limit is exceeded, 0.999; 0 takes the limits by the letter."""


class WatchSettings(Section):
    """The watch over a release after its promotion."""

    action: Literal["propose", "rollback", "off"] | None = None
    """On an alarm: ask somebody to look (the default), or go back."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    """How long; a day."""
    mean_run: Annotated[float, Field(gt=1)] | None = None
    """Conversations between two false alarms, on average at least; 100,000."""
    ratios: tuple[Annotated[float, Field(gt=1)], ...] | None = None
    """Multiples of the known rate of bad conversations that are looked for; 2 and 5."""
