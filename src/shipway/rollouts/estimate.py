"""How long a plan takes at a traffic: what the evidence of each step needs, and what ends it before. Pure.

`plan_text` prints it before anything changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shipway.rollouts.calendar import opens_in_s
from shipway.rollouts.plan import Plan, bad_needed, harmless_needed, pairs_needed, proof_share, proves_no_harm

# Where the traffic is not known a limit is warned about that a small service would not keep.
_SMALL_SERVICE_PER_S = 1.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is known of stable's traffic; 0 is unknown. `now_s` is the Unix time of the deploy; None: no windows."""

    conversations_per_s: float = 0.0
    bad_rate: float = 0.0
    now_s: float | None = None


@dataclass(frozen=True, slots=True)
class StepTime:
    """What a step takes.

    `conversations` of both arms or compared `pairs` are its evidence; None when it cannot be told. `wait_s` passes
    before its window opens, None when it never does; `lasts_s` is None where it takes a traffic that is not known.
    `needed_per_s` is the traffic from which on `max_s` is long enough.
    """

    conversations: int | None
    pairs: int
    wait_s: float | None
    lasts_s: float | None
    needed_per_s: float


def step_times(plan: Plan, traffic: Traffic) -> list[StepTime]:
    """Return what each step takes, each beginning when the one before has ended."""
    times: list[StepTime] = []
    passed_s: float | None = 0.0
    for number, step in enumerate(plan.steps):
        wait_s: float | None = 0.0
        if step.windows and traffic.now_s is not None:
            # While it is not known when the step before ends, the first moment is all that can be told.
            wait_s = opens_in_s(step.windows, plan.timezone, traffic.now_s + (passed_s or 0.0))
        conversations, pairs = _conversations(plan, number, traffic.bad_rate), _pairs(plan, number)
        lasts_s = None if conversations is None else _lasts_s(plan, number, (conversations, pairs), traffic)
        needed = _per_s(plan, number, (conversations or 0, pairs))
        times.append(StepTime(conversations, pairs, wait_s, lasts_s, needed))
        passed_s = None if None in (passed_s, wait_s, lasts_s) else (passed_s or 0) + (wait_s or 0) + (lasts_s or 0)
    return times


def too_short(plan: Plan, times: Sequence[StepTime], traffic: Traffic) -> list[str]:
    """Return the steps, and the plan, that end before their evidence is there, with the numbers."""
    lines = []
    for number, (step, time) in enumerate(zip(plan.steps, times, strict=True)):
        if step.max_s is None or not (time.conversations or time.pairs):
            continue
        needs = f"about {_evidence(time)}"
        if time.lasts_s is not None and time.lasts_s > step.max_s:
            at = f"{needs} take {time.lasts_s:.0f} s at {traffic.conversations_per_s:.3g} conversations a second"
            lines.append(f"step {number + 1}: max_s = {step.max_s:g} is shorter than its evidence needs: {at}")
        elif traffic.conversations_per_s <= 0.0 and time.needed_per_s > _SMALL_SERVICE_PER_S:
            at = f"only from {time.needed_per_s:.3g} conversations a second on, for {needs}; the traffic is not known"
            lines.append(f"step {number + 1}: max_s = {step.max_s:g} is enough {at}")
    return [*lines, *_deadline(plan, times, traffic)]


def promoted_in_s(times: Sequence[StepTime]) -> float | None:
    """Return when a healthy candidate has passed all steps; None when that cannot be told."""
    parts = [part for time in times for part in (time.wait_s, time.lasts_s)]
    known = [part for part in parts if part is not None]
    return math.fsum(known) if len(known) == len(parts) else None


def _deadline(plan: Plan, times: Sequence[StepTime], traffic: Traffic) -> list[str]:
    """Return that the deadline comes first; its clock begins with the first step and again with each window."""
    if plan.deadline_s is None:
        return []
    running_s, conversations = 0.0, 0.0
    for step, time in zip(plan.steps, times, strict=True):
        if step.windows:
            running_s, conversations = 0.0, 0.0
        running_s += time.lasts_s or 0.0
        conversations += max(time.conversations or 0, time.pairs / step.shadow if step.shadow else 0)
        if running_s > plan.deadline_s:
            needs = f"{running_s:.0f} s at {traffic.conversations_per_s:.3g} conversations a second"
            return [f"deadline_s: {plan.deadline_s:g} comes before the evidence, which takes {needs} or more"]
        needed = conversations / plan.deadline_s
        if traffic.conversations_per_s <= 0.0 and needed > _SMALL_SERVICE_PER_S:
            needs = f"for about {conversations:.0f} conversations; the traffic is not known"
            at = f"{needed:.3g} conversations a second on, {needs}"
            return [f"deadline_s: {plan.deadline_s:g} is enough only from {at}"]
    return []


def _evidence(time: StepTime) -> str:
    told = [f"{time.pairs} compared pairs"] if time.pairs else []
    return " and ".join([*told, *([f"{time.conversations} conversations"] if time.conversations else [])])


def _lasts_s(plan: Plan, number: int, needed: tuple[int, int], traffic: Traffic) -> float | None:
    step = plan.steps[number]
    conversations, pairs = needed
    if not conversations and not pairs:
        return step.min_bake_s
    if traffic.conversations_per_s <= 0.0:
        return None
    # What proves by itself counts a conversation when it is as old as the step's bake time.
    proves = proves_no_harm(plan, number) and harmless_needed(plan, bad_rate=traffic.bad_rate)
    settling_s = step.min_bake_s if proves else 0.0
    copied_s = pairs / (traffic.conversations_per_s * step.shadow) if pairs else 0.0
    return max(step.min_bake_s, conversations / traffic.conversations_per_s + settling_s, copied_s)


def _per_s(plan: Plan, number: int, needed: tuple[int, int]) -> float:
    step = plan.steps[number]
    if step.max_s is None:
        return 0.0
    conversations, pairs = needed
    left_s = step.max_s - (step.min_bake_s if proves_no_harm(plan, number) and harmless_needed(plan) else 0.0)
    return max(conversations / left_s if left_s > 0.0 else math.inf, pairs / (step.max_s * step.shadow) if pairs else 0)


def _conversations(plan: Plan, number: int, bad_rate: float) -> int | None:
    step = plan.steps[number]
    if not proves_no_harm(plan, number):
        share = proof_share(step)
        # Without a conversation of the candidate a step with traffic says nothing.
        return max(step.min_conversations, math.ceil(1.0 / share) if step.traffic and share else 0)
    ways = [math.ceil(bad_needed(plan, number) / bad_rate)] if bad_rate > 0.0 else []
    harmless = harmless_needed(plan, bad_rate=bad_rate)
    if harmless is not None:
        ways.append(math.ceil(harmless / proof_share(step)))
    return max(step.min_conversations, min(ways)) if ways else None


def _pairs(plan: Plan, number: int) -> int:
    """Return the compared pairs that a step waits for; one with users waits for none."""
    step = plan.steps[number]
    if not step.shadow or step.weights() != {0.0}:
        return 0
    return max(step.min_pairs, 1, 0 if step.prove is False else pairs_needed(plan))
