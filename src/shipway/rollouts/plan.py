"""The plan of a rollout: what a user asks for, as data that the rollout's row keeps.

`strategies` makes the steps of a strategy, `plan_check` says whether a plan can run, `plan_text` prints it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.core.observation import PAIR
from shipway.core.record import ABSTAINED, CLIENT_GONE, ERROR, FALLBACK, TIMEOUT, UNSUPPORTED
from shipway.core.snapshot import Segment
from shipway.rollouts.metrics import DEFAULT_METRICS, PAIRS, Metric
from shipway.rollouts.rules import Rules
from shipway.rollouts.watch import WatchPlan
from shipway.stats.betting import pairs_needed as betting_pairs_needed
from shipway.stats.harmless import harmless_conversations_needed
from shipway.stats.sequential import events_needed

BAD_EVENTS = (ERROR, TIMEOUT, UNSUPPORTED, FALLBACK, ABSTAINED)
FLAG = "flag"
STRATEGIES = ("canary", "blue-green", "shadow", "rolling", FLAG, "swap")
EVENTS = (*BAD_EVENTS, CLIENT_GONE, "escalated", "model_fallback", "context_trimmed")
"""What the gateway notes of a request and a plan may count."""
ON_NO_DATA = ("hold", "abort", "replay")
ON_HARM = ("rollback", "freeze")


@dataclass(frozen=True, slots=True)
class Step:
    """One division of traffic, what must be true before it begins, and what must have been seen before the next.

    `weight` is a share of conversations; `routes` names routes with another share. `shadow` is the share of stable's
    requests that the candidate is asked as well. `min_conversations` counts both arms, first seen at this weight;
    `min_pairs` compared shadow pairs. After `max_s` without a verdict the rollout pauses.

    Before it begins: `smoke` has the candidate's smoke suite pass, `approval` has a person agree, `windows` are times
    of the week in the plan's time zone. `prove` False lets it pass without ruling out harm, None leaves that to its
    place. `traffic` False lets it pass without a conversation: time and health decide, and what speaks against it.
    """

    weight: float
    min_conversations: int = 0
    min_bake_s: float = 0.0
    max_s: float | None = None
    routes: tuple[tuple[str, float], ...] = ()
    shadow: float = 0.0
    min_pairs: int = 0
    smoke: bool = False
    approval: bool = False
    windows: tuple[str, ...] = ()
    prove: bool | None = None
    traffic: bool = True

    def weights(self) -> frozenset[float]:
        """Return every share that some route has in this step."""
        return frozenset({self.weight, *(weight for _, weight in self.routes)})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Step":
        """Return the step of a JSON form."""
        routes = tuple((name, weight) for name, weight in data.get("routes", ()))
        return cls(**{**data, "routes": routes, "windows": tuple(data.get("windows", ()))})


# Measured with harm_ratio 3, both alphas 0.05 and 20 % bad conversations on stable (300 simulated rollouts each): a
# healthy candidate is promoted after 140 conversations (median; 310 at the ninth decile) and rolled back in 3 %; one
# with 70-80 % bad is rolled back after 60-70 (100-130), of which about 20 were its own. Where neither arm is ever bad
# it is promoted after 200 (210), with 1 % bad in both after 330 (570).
DEFAULT_STEPS = (Step(0.1, min_conversations=30), Step(0.5, min_conversations=60), Step(1.0, min_conversations=10))


@dataclass(frozen=True, slots=True)
class Guardrails:
    """Fixed limits beside the statistics: share of the candidate's requests that failed, once there are enough."""

    max_error_rate: float = 0.05
    min_samples: int = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How to roll out.

    `alpha` is the chance of rolling back a healthy candidate, `promote_alpha` that of promoting one whose rate of bad
    conversations is `harm_ratio` times stable's or worse and at least `harmless_rate` (None: whatever it is). `events`
    make a conversation bad, once, however many occur.

    `keep_s` is how long stable's processes are kept after promotion, `unhealthy_s` how long a candidate with traffic
    may be unhealthy. `on_harm` "freeze" keeps the weights and asks instead of rolling back. A promotion waits for a
    person when `ask_to_promote`. `exclusive` stops stable before the candidate starts, its requests waiting meanwhile.
    `smoke_file` names the smoke checks, by default what fits the app.
    """

    steps: tuple[Step, ...] = DEFAULT_STEPS
    strategy: str = "canary"
    alpha: float = 0.05
    promote_alpha: float = 0.05
    harm_ratio: float = 3.0
    harmless_rate: float | None = 0.05
    events: tuple[str, ...] = BAD_EVENTS
    guardrails: Guardrails = field(default_factory=Guardrails)
    sample_ratio_alpha: float = 0.001
    drain_s: float = 30.0
    dead_man_s: float = 60.0
    start_timeout_s: float = 120.0
    on_no_data: str = "hold"
    deadline_s: float | None = None
    segments: tuple[Segment, ...] = ()
    keep_s: float = 0.0
    unhealthy_s: float = 10.0
    on_harm: str = "rollback"
    ask_to_promote: bool = False
    exclusive: bool = False
    smoke_file: str = ""
    timezone: str = "UTC"
    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    rules: Rules = field(default_factory=Rules)
    watch: WatchPlan = field(default_factory=WatchPlan)

    @property
    def shadows(self) -> bool:
        """Tell whether some step copies requests to the candidate."""
        return any(step.shadow for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        plain: dict[str, Any] = _lists(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Plan":
        """Return the plan of a JSON form."""
        return cls(
            **{
                # A rollout that was started without it goes on as it was printed.
                "harmless_rate": None,
                **data,
                "steps": tuple(Step.from_dict(step) for step in data["steps"]),
                "events": tuple(data["events"]),
                "guardrails": Guardrails(**data["guardrails"]),
                "metrics": tuple(Metric.from_dict(item) for item in data.get("metrics", ())),
                "rules": Rules.from_dict(data["rules"]) if "rules" in data else Rules.off(),
                "watch": WatchPlan.from_dict(data["watch"]) if "watch" in data else WatchPlan.off(),
                "segments": tuple(
                    Segment(**{name: tuple(values) for name, values in item.items()})
                    for item in data.get("segments", ())
                ),
            }
        )


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def proves_no_harm(plan: Plan, number: int) -> bool:
    """Tell whether a step must rule out harm: the last one before everybody is moved, unless it says otherwise."""
    step = plan.steps[number]
    if step.weights() == {0.0}:
        # A step without users proves by its pairs.
        return False
    if step.prove is not None:
        return step.prove
    # One that needs no users proves by nothing but time and health.
    return number + 2 == len(plan.steps) and step.weight > 0.0 and step.traffic


def stays(plan: Plan) -> bool:
    """Tell whether a rollout stays at its last step until a person promotes it."""
    return plan.strategy == FLAG or plan.steps[-1].weight < 1.0


def proof_share(step: Step) -> float:
    """Return the candidate's share at which a step's proof is estimated: that of all routes, or of one it begins on."""
    return step.weight if step.weight > 0.0 else max(step.weights())


def settle_s(plan: Plan) -> float:
    """Return how old a conversation of the candidate must be before it is taken for good."""
    return plan.steps[-2].min_bake_s if len(plan.steps) > 1 else 0.0


def bad_needed(plan: Plan, number: int) -> int:
    """Estimate the bad conversations, both arms, until a step's weight rules out `harm_ratio` without other help.

    With a `harmless_rate` the mean of two e-values must reach 1 / promote_alpha, so one alone needs twice that.
    """
    alpha = plan.promote_alpha if plan.harmless_rate is None else plan.promote_alpha / 2.0
    return events_needed(plan.harm_ratio, proof_share(plan.steps[number]), alpha)


def pairs_needed(plan: Plan) -> int:
    """Estimate the shadow pairs until no harm is shown, where both answers are equally good each time."""
    tolerances = [metric.tolerance for metric in plan.metrics if metric.kind == PAIRS and metric.of == PAIR]
    return max((betting_pairs_needed(tolerance, plan.promote_alpha) for tolerance in tolerances), default=0)


def harmless_needed(plan: Plan, *, bad_rate: float = 0.0) -> int | None:
    """Estimate the candidate's conversations until its rate is below `harmless_rate`; None when that cannot be."""
    if plan.harmless_rate is None or bad_rate >= plan.harmless_rate:
        return None
    # Without bad conversations the other e-value is 1.
    return harmless_conversations_needed(plan.harmless_rate, 2.0 / plan.promote_alpha - 1.0, bad_rate=bad_rate)
