"""The plan of a rollout: what a user asks for, whether it can work, and how to print it before anything changes.

The services check a plan and show `printable` lines before they start a rollout.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from shipway.core.record import ABSTAINED, ERROR, FALLBACK, TIMEOUT, UNSUPPORTED
from shipway.stats.harmless import harmless_conversations_needed
from shipway.stats.sequential import events_needed

BAD_EVENTS = (ERROR, TIMEOUT, UNSUPPORTED, FALLBACK, ABSTAINED)
STRATEGIES = ("canary",)
ON_NO_DATA = ("hold", "abort")
# The evidence marks each conversation with its step in 5 bits; the rest is for weights of before a foreign change.
MAX_STEPS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One weight and what must have been seen there before the next.

    `min_conversations` counts both arms, first seen at this weight. After `max_s` without a verdict the rollout pauses.
    """

    weight: float
    min_conversations: int = 0
    min_bake_s: float = 0.0
    max_s: float | None = None


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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        plain = asdict(self)
        return {**plain, "steps": list(plain["steps"]), "events": list(plain["events"])}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Plan":
        """Return the plan of a JSON form."""
        return cls(
            **{
                # A rollout that was started without it goes on as it was printed.
                "harmless_rate": None,
                **data,
                "steps": tuple(Step(**step) for step in data["steps"]),
                "events": tuple(data["events"]),
                "guardrails": Guardrails(**data["guardrails"]),
            }
        )


def problems(plan: Plan) -> list[str]:
    """Return what makes a plan impossible, one line a fault with key and value; empty when it can run."""
    return [*_strategy_problems(plan), *_step_problems(plan), *_number_problems(plan)]


def warnings(plan: Plan) -> list[str]:
    """Return what will make a possible plan wait or prove nothing."""
    if len(plan.steps) == 1:
        return ["steps: one step of weight 1 switches everybody at once; there is no stable arm to compare with"]
    return list(_evidence_warnings(plan))


def printable(plan: Plan, *, conversations_per_s: float = 0.0, bad_rate: float = 0.0) -> list[str]:
    """Return the plan as lines, with how long it takes at a traffic and a share of bad conversations (0 = unknown)."""
    rails = plan.guardrails
    lines = [
        f"strategy {plan.strategy}; a conversation is bad on: {', '.join(plan.events)}",
        f"roll back when the candidate has more bad conversations (false alarm in {plan.alpha:.2%} of rollouts)",
        f"roll back when over {rails.max_error_rate:.0%} of at least {rails.min_samples} candidate requests fail",
    ]
    known = conversations_per_s > 0.0
    total_s = 0.0
    for number, step in enumerate(plan.steps):
        conversations = _step_conversations(plan, number, bad_rate)
        duration_s = max(step.min_bake_s, conversations / conversations_per_s) if known else step.min_bake_s
        total_s += duration_s
        eta = f", about {duration_s:.0f} s" if known else ""
        lines.append(
            f"step {number + 1}: {step.weight:.0%} of conversations, at least {step.min_conversations} of them and"
            f" {step.min_bake_s:g} s{_proof(plan, number)}{eta}"
        )
    lines.append(f"healthy candidate promoted in about {total_s:.0f} s" if known else "no ETA: traffic is not known")
    return lines + [f"warning: {warning}" for warning in warnings(plan)]


def proves_no_harm(plan: Plan, number: int) -> bool:
    """Tell whether a step must rule out harm: the last one before everybody is moved."""
    return number + 2 == len(plan.steps)


def settle_s(plan: Plan) -> float:
    """Return how old a conversation of the candidate must be before it is taken for good."""
    return plan.steps[-2].min_bake_s if len(plan.steps) > 1 else 0.0


def bad_needed(plan: Plan, number: int) -> int:
    """Estimate the bad conversations, both arms, until a step's weight rules out `harm_ratio` without other help.

    With a `harmless_rate` the mean of two e-values must reach 1 / promote_alpha, so one alone needs twice that.
    """
    alpha = plan.promote_alpha if plan.harmless_rate is None else plan.promote_alpha / 2.0
    return events_needed(plan.harm_ratio, plan.steps[number].weight, alpha)


def harmless_needed(plan: Plan, *, bad_rate: float = 0.0) -> int | None:
    """Estimate the candidate's conversations until its rate is below `harmless_rate`; None when that cannot be."""
    if plan.harmless_rate is None or bad_rate >= plan.harmless_rate:
        return None
    # Without bad conversations the other e-value is 1.
    return harmless_conversations_needed(plan.harmless_rate, 2.0 / plan.promote_alpha - 1.0, bad_rate=bad_rate)


def _strategy_problems(plan: Plan) -> Iterator[str]:
    if plan.strategy not in STRATEGIES:
        yield f"strategy: {plan.strategy!r} is unknown; use one of {', '.join(STRATEGIES)}"
    if plan.on_no_data not in ON_NO_DATA:
        yield f"on_no_data: {plan.on_no_data!r} is unknown; use one of {', '.join(ON_NO_DATA)}"
    if not plan.events:
        yield "events: the list is empty, so nothing could ever count against the candidate; name at least one"


def _step_problems(plan: Plan) -> Iterator[str]:
    if not plan.steps:
        yield "steps: the list is empty; end it with a step of weight 1"
        return
    if len(plan.steps) > MAX_STEPS:
        yield f"steps: {len(plan.steps)} steps; use at most {MAX_STEPS}"
    previous = 0.0
    for number, step in enumerate(plan.steps):
        key = f"steps[{number}]"
        if not 0.0 < step.weight <= 1.0:
            yield f"{key}.weight: {step.weight!r} is not in (0, 1]; a share of conversations is meant, 0.1 for 10 %"
        elif step.weight <= previous:
            yield f"{key}.weight: {step.weight!r} does not rise above {previous!r}; order the steps by weight"
        previous = step.weight
        if step.min_conversations < 0:
            yield f"{key}.min_conversations: {step.min_conversations!r} is negative"
        if not 0.0 <= step.min_bake_s < math.inf:
            yield f"{key}.min_bake_s: {step.min_bake_s!r} is not a time in seconds"
        if step.max_s is not None and not step.max_s > step.min_bake_s:
            yield f"{key}.max_s: {step.max_s!r} ends the step before min_bake_s = {step.min_bake_s!r}"
    if plan.steps[-1].weight != 1.0:
        yield f"steps[{len(plan.steps) - 1}].weight: the last step must be 1, not {plan.steps[-1].weight!r}"


def _number_problems(plan: Plan) -> Iterator[str]:
    for name in ("alpha", "promote_alpha", "sample_ratio_alpha"):
        value = getattr(plan, name)
        if not 0.0 < value < 1.0:
            yield f"{name}: {value!r} is not between 0 and 1; 0.05 is usual"
    if not 1.0 < plan.harm_ratio < math.inf:
        yield f"harm_ratio: {plan.harm_ratio!r} must exceed 1: how many times stable's bad rate counts as harm"
    if plan.harmless_rate is not None and not 0.0 < plan.harmless_rate < 1.0:
        yield (f"harmless_rate: {plan.harmless_rate!r} is not between 0 and 1; 0.05 is usual, null switches it off")
    if not 0.0 < plan.guardrails.max_error_rate <= 1.0:
        yield f"guardrails.max_error_rate: {plan.guardrails.max_error_rate!r} is not in (0, 1]"
    if plan.guardrails.min_samples < 1:
        yield f"guardrails.min_samples: {plan.guardrails.min_samples!r} must be at least 1"
    for name in ("drain_s", "dead_man_s", "start_timeout_s", "deadline_s"):
        value = getattr(plan, name)
        if value is not None and not (0.0 <= value < math.inf and (value > 0.0 or name == "drain_s")):
            yield f"{name}: {value!r} is not a time in seconds"


def _evidence_warnings(plan: Plan) -> Iterator[str]:
    for number, step in enumerate(plan.steps):
        if not proves_no_harm(plan, number):
            continue
        events, quiet = bad_needed(plan, number), harmless_needed(plan)
        harmless = f", or about {quiet} conversations of the candidate without a bad one" if quiet else ""
        if step.min_conversations < events:
            yield (
                f"steps[{number}]: ruling out {plan.harm_ratio:g} times stable's rate takes about {events} bad"
                f" conversations at {step.weight:.0%}{harmless}; min_conversations = {step.min_conversations} is less,"
                " so the step will wait for them"
            )
        if step.max_s is None and plan.deadline_s is None:
            wait = f"{events} bad conversations{harmless}"
            yield f"steps[{number}]: neither max_s nor deadline_s ends the wait for {wait}"


def _step_conversations(plan: Plan, number: int, bad_rate: float) -> int:
    step = plan.steps[number]
    if not proves_no_harm(plan, number):
        return step.min_conversations
    ways = [math.ceil(bad_needed(plan, number) / bad_rate)] if bad_rate > 0.0 else []
    harmless = harmless_needed(plan, bad_rate=bad_rate)
    if harmless is not None:
        ways.append(math.ceil(harmless / step.weight))
    return max(step.min_conversations, min(ways, default=0))


def _proof(plan: Plan, number: int) -> str:
    if not proves_no_harm(plan, number):
        return ""
    relative = (
        f"{plan.harm_ratio:g} times stable's rate is ruled out (about {bad_needed(plan, number)} bad conversations)"
    )
    quiet = harmless_needed(plan)
    if quiet is None:
        return f", until {relative}"
    return (
        f", until {relative} or the candidate's rate is shown to be below {plan.harmless_rate:.2%}"
        f" (about {quiet} of its conversations without a bad one)"
    )
