"""Whether a plan can run, and what will make it wait or prove nothing. Pure; called when a plan is written."""

import math
from collections.abc import Collection, Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from shipway.core.snapshot import Segment
from shipway.rollouts.calendar import window_problem
from shipway.rollouts.metrics import PAIRS, metric_problems
from shipway.rollouts.plan import (
    EVENTS,
    ON_HARM,
    ON_NO_DATA,
    STRATEGIES,
    Plan,
    Step,
    bad_needed,
    harmless_needed,
    proof_share,
    proves_no_harm,
)
from shipway.rollouts.rules import rule_problems
from shipway.rollouts.watch import watch_problems

# The evidence marks each conversation with its step in 5 bits; the rest is for weights of before a foreign change.
MAX_STEPS = 20
_TIMES = ("drain_s", "dead_man_s", "start_timeout_s", "deadline_s", "keep_s", "unhealthy_s")
# One error in a million rollouts; evidence of that strength takes three times as long as usual.
_SMALLEST_ALPHA = 1e-6
_LEAST_SHARE = 1e-6
_MAY_BE_ZERO = frozenset({"drain_s", "keep_s", "unhealthy_s"})


def problems(plan: Plan, *, routes: Collection[str] = ()) -> list[str]:
    """Return what makes a plan impossible, one line a fault with key and value; empty when it can run.

    Steps may name only `routes`, when those are given.
    """
    return [
        *_strategy_problems(plan),
        *_steps_problems(plan),
        *_route_problems(plan, routes),
        *_number_problems(plan),
        *metric_problems(plan.metrics),
        *rule_problems(plan.rules),
        *watch_problems(plan.watch),
    ]


def warnings(plan: Plan) -> list[str]:
    """Return what will make a possible plan wait or prove nothing."""
    unknown = [name for name in plan.events if name not in EVENTS]
    told = [f"events: {name!r} is recorded by nothing; known are {', '.join(EVENTS)}" for name in unknown]
    told += [
        f"metrics.{metric.name}.events: {name!r} is recorded by nothing; known are {', '.join(EVENTS)}"
        for metric in plan.metrics
        for name in metric.events
        if name not in EVENTS
    ]
    told += [
        f"{name}: {value!r} asks for evidence of {1.0 / value:.0e}, so hardly anything is ever decided; 0.01 is usual"
        for name in ("alpha", "promote_alpha")
        if 0.0 < (value := getattr(plan, name)) < _SMALLEST_ALPHA
    ]
    told += [
        f"step {number + 1}: min_pairs counts only where nobody gets the candidate; with users it is not waited for"
        for number, step in enumerate(plan.steps)
        if step.min_pairs and step.weights() != {0.0}
    ]
    if plan.smoke_file and not any(step.smoke for step in plan.steps):
        told.append(f"smoke_file: no step asks {plan.smoke_file}; add `smoke: true` to the plan or to a step")
    if len(plan.steps) == 1 and plan.steps[0].weight == 1.0:
        return [*told, "steps: one step of weight 1 switches everybody at once; there is no stable arm to compare with"]
    return [*told, *_evidence_warnings(plan)]


def _strategy_problems(plan: Plan) -> Iterator[str]:
    if plan.strategy not in STRATEGIES:
        yield f"strategy: {plan.strategy!r} is unknown; use one of {', '.join(STRATEGIES)}"
    if plan.on_no_data not in ON_NO_DATA:
        yield f"on_no_data: {plan.on_no_data!r} is unknown; use one of {', '.join(ON_NO_DATA)}"
    if plan.on_harm not in ON_HARM:
        yield f"on_harm: {plan.on_harm!r} is unknown; use one of {', '.join(ON_HARM)}"
    if not plan.events:
        yield "events: the list is empty, so nothing could ever count against the candidate; name at least one"
    elif not any(name in EVENTS for name in plan.events):
        named = ", ".join(map(repr, plan.events))
        yield f"events: {named}: nothing records them, so nothing could ever count; known are {', '.join(EVENTS)}"
    if plan.segments and plan.strategy != "flag":
        yield f"segments: only the strategy flag has segments, not {plan.strategy}"
    for number, segment in enumerate(plan.segments):
        if segment == Segment():
            yield f"segments[{number}]: it names no tenant, group or key, so it is everybody; name some or leave it out"
    try:
        ZoneInfo(plan.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        yield f"timezone: {plan.timezone!r} is unknown; use a name such as UTC or Europe/Berlin"


def _steps_problems(plan: Plan) -> Iterator[str]:
    if not plan.steps:
        yield "steps: the list is empty; end it with a step of weight 1"
        return
    if len(plan.steps) > MAX_STEPS:
        yield f"steps: {len(plan.steps)} steps; use at most {MAX_STEPS}"
    previous: Step | None = None
    for number, step in enumerate(plan.steps):
        yield from _weight_problems(f"steps[{number}]", step, previous)
        yield from _step_problems(f"steps[{number}]", step)
        previous = step
        if step.shadow and step.weights() == {0.0} and not any(metric.kind == PAIRS for metric in plan.metrics):
            yield f"steps[{number}].shadow: no metric of kind pair is on, so the copies would be compared by nothing"
        if plan.exclusive and (step.weights() != {1.0} or step.shadow):
            yield f"steps[{number}]: swap stops stable before the candidate starts, so every step has weight 1"
        if plan.strategy == "blue-green" and any(0.0 < weight < 1.0 for weight in step.weights()):
            share = next(weight for weight in sorted(step.weights()) if 0.0 < weight < 1.0)
            yield f"steps[{number}].weight: blue-green is nobody, then everybody, not {share!r}; use canary for shares"
    last = plan.steps[-1]
    if plan.strategy != "flag" and (last.weight != 1.0 or last.weights() != {1.0}):
        shown = last.weight if last.weight != 1.0 else dict(last.routes)
        yield f"steps[{len(plan.steps) - 1}].weight: the last step must be 1, not {shown!r}"


def _share_problem(weight: float, allowed: str) -> str:
    if not 0.0 <= weight <= 1.0:
        return f"is not in {allowed}; a share of conversations is meant, 0.1 for 10 %"
    if 0.0 < weight < _LEAST_SHARE:
        return "is less than one conversation in a million; 0.01 is 1 %"
    return ""


def _weight_problems(key: str, step: Step, previous: Step | None) -> Iterator[str]:
    quiet = step.shadow > 0.0 or not step.traffic
    if step.weight == 0.0 and not quiet:
        yield f"{key}.weight: 0 is nobody; such a step needs `shadow` (copies), or begin with a share, 0.1 for 10 %"
    elif problem := _share_problem(step.weight, "(0, 1]"):
        yield f"{key}.weight: {step.weight!r} {problem}"
    elif previous is not None and step.weight <= previous.weight and not (step.weight == 0.0 or _rises(step, previous)):
        yield f"{key}.weight: {step.weight!r} does not rise above {previous.weight!r}; order the steps by weight"
    before = {} if previous is None else dict(previous.routes)
    floor = 0.0 if previous is None else previous.weight
    for route, weight in step.routes:
        if problem := _share_problem(weight, "[0, 1]"):
            yield f"{key}.routes.{route}: {weight!r} {problem}"
        elif weight < before.get(route, floor):
            yield f"{key}.routes.{route}: {weight!r} goes down from {before.get(route, floor)!r}; shares may only rise"
    for route, weight in before.items():
        if route not in dict(step.routes) and step.weight < weight:
            yield f"{key}.weight: {step.weight!r} takes route {route!r} down from {weight!r}; shares may only rise"


def _rises(step: Step, previous: Step) -> bool:
    """Tell whether some route of its own rises while the other shares stay."""
    before = dict(previous.routes)
    higher = any(weight > before.get(route, previous.weight) for route, weight in step.routes)
    return step.weight == previous.weight and higher


def _step_problems(key: str, step: Step) -> Iterator[str]:
    if step.min_conversations < 0:
        yield f"{key}.min_conversations: {step.min_conversations!r} is negative"
    if step.min_pairs < 0:
        yield f"{key}.min_pairs: {step.min_pairs!r} is negative"
    if not 0.0 <= step.shadow <= 1.0:
        yield f"{key}.shadow: {step.shadow!r} is not in [0, 1]; a share of requests is meant, 0.1 for 10 %"
    if step.min_pairs and not step.shadow:
        yield f"{key}.min_pairs: {step.min_pairs!r} pairs without copies; set shadow to the share of requests to copy"
    if not 0.0 <= step.min_bake_s < math.inf:
        yield f"{key}.min_bake_s: {step.min_bake_s!r} is not a time in seconds"
    if step.max_s is not None and not step.max_s > step.min_bake_s:
        yield f"{key}.max_s: {step.max_s!r} ends the step before min_bake_s = {step.min_bake_s!r}"
    if step.prove and proof_share(step) >= 1.0:
        yield f"{key}.prove: with everybody on the candidate nothing is compared with stable; prove it a step before"
    for number, window in enumerate(step.windows):
        problem = window_problem(window)
        if problem:
            yield f"{key}.windows[{number}]: {problem}"


def _route_problems(plan: Plan, routes: Collection[str]) -> Iterator[str]:
    for number, step in enumerate(plan.steps):
        names = [name for name, _ in step.routes]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"steps[{number}].routes: {name!r} is there twice"
        for name in names:
            if routes and name not in routes:
                yield f"steps[{number}].routes.{name}: no such route in the release; it has {', '.join(sorted(routes))}"


def _number_problems(plan: Plan) -> Iterator[str]:
    for name in ("alpha", "promote_alpha", "sample_ratio_alpha"):
        value = getattr(plan, name)
        if not 0.0 < value < 1.0:
            yield f"{name}: {value!r} is not between 0 and 1; 0.05 is usual"
    if not 1.0 < plan.harm_ratio < math.inf:
        yield f"harm_ratio: {plan.harm_ratio!r} must exceed 1: how many times stable's bad rate counts as harm"
    if plan.harmless_rate is not None and not 0.0 < plan.harmless_rate < 1.0:
        yield f"harmless_rate: {plan.harmless_rate!r} is not between 0 and 1; 0.05 is usual, null switches it off"
    if not 0.0 < plan.guardrails.max_error_rate <= 1.0:
        yield f"guardrails.max_error_rate: {plan.guardrails.max_error_rate!r} is not in (0, 1]"
    if plan.guardrails.min_samples < 1:
        yield f"guardrails.min_samples: {plan.guardrails.min_samples!r} must be at least 1"
    for name in _TIMES:
        value = getattr(plan, name)
        if value is not None and not (0.0 <= value < math.inf and (value > 0.0 or name in _MAY_BE_ZERO)):
            yield f"{name}: {value!r} is not a time in seconds"
    baking_s = sum(step.min_bake_s for step in plan.steps)
    if plan.deadline_s is not None and 0.0 < plan.deadline_s <= baking_s:
        yield f"deadline_s: {plan.deadline_s:g} comes before the steps end, whose min_bake_s are {baking_s:g} together"


def _evidence_warnings(plan: Plan) -> Iterator[str]:
    for number, step in enumerate(plan.steps):
        if not proves_no_harm(plan, number):
            continue
        events, quiet = bad_needed(plan, number), harmless_needed(plan)
        harmless = f", or about {quiet} conversations of the candidate without a bad one" if quiet else ""
        # Without a number of the user's own the plan says how long it waits.
        if 0 < step.min_conversations < events:
            yield (
                f"step {number + 1}: ruling out {plan.harm_ratio:g} times stable's rate takes about {events} bad"
                f" conversations at {step.weight:.0%}{harmless}; min_conversations = {step.min_conversations} is less,"
                " so the step will wait for them"
            )
        if step.max_s is None and plan.deadline_s is None:
            wait = f"{events} bad conversations{harmless}"
            yield f"step {number + 1}: neither max_s nor deadline_s ends the wait for {wait}"
