"""A rollout's plan as lines for people, before anything changes. Pure; services print them."""

import math
from collections.abc import Iterator

from shipway.rollouts.metrics import PAIRS
from shipway.rollouts.plan import Plan, Step, bad_needed, harmless_needed, proves_no_harm
from shipway.rollouts.plan_check import warnings
from shipway.rollouts.rules import PAUSE, ROLLBACK, RULES
from shipway.rollouts.watch import OFF as WATCH_OFF
from shipway.rollouts.watch import PROPOSE

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86_400.0


def printable(plan: Plan, *, conversations_per_s: float = 0.0, bad_rate: float = 0.0) -> list[str]:
    """Return the plan as lines, with how long it takes at a traffic and a share of bad conversations (0 = unknown)."""
    lines = list(_rules(plan))
    total_s: float | None = 0.0 if conversations_per_s > 0.0 else None
    for number in range(len(plan.steps)):
        duration_s = _duration_s(plan, number, conversations_per_s, bad_rate)
        total_s = None if duration_s is None or total_s is None else total_s + duration_s
        eta = "" if duration_s is None else f", about {span(duration_s)}"
        lines.append(f"step {number + 1}: {_step(plan, number)}{_proof(plan, number)}{eta}")
    lines.extend(_end(plan))
    if total_s is not None:
        lines.append(f"healthy candidate promoted in about {span(total_s)}")
        if plan.deadline_s is not None and total_s > plan.deadline_s:
            lines.append(f"warning: deadline_s: {plan.deadline_s:g} will come before that")
    else:
        missing = "traffic" if conversations_per_s <= 0.0 else "stable's rate of bad conversations"
        lines.append(f"no ETA: {missing} is not known")
    return lines + [f"warning: {warning}" for warning in warnings(plan)]


def span(seconds: float) -> str:
    """Return a time in the largest unit that keeps it readable."""
    for unit_s, name in ((_DAY_S, "days"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 2.0 * unit_s:
            return f"{seconds / unit_s:.3g} {name}"
    return f"{seconds:.0f} s"


def _rules(plan: Plan) -> Iterator[str]:
    rails = plan.guardrails
    yield f"strategy {plan.strategy}; a conversation is bad on: {', '.join(plan.events)}"
    if plan.segments:
        yield f"only callers of {' or '.join(segment.named for segment in plan.segments)} may get the candidate"
    act = "roll back" if plan.on_harm == "rollback" else "freeze the weights and ask"
    yield f"{act} when the candidate has more bad conversations (false alarm in {plan.alpha:.2%} of rollouts)"
    yield f"{act} when over {rails.max_error_rate:.0%} of at least {rails.min_samples} candidate requests fail"
    if plan.metrics:
        named = ", ".join(metric.name for metric in plan.metrics if plan.shadows or metric.kind != PAIRS)
        yield f"judged beside the bad conversations, where there is data, with a part of that chance each: {named}"
    rules = [name for name in RULES if getattr(plan.rules, name).action in {ROLLBACK, PAUSE}]
    if rules:
        yield f"fixed rules that stop it: {', '.join(rules)}"
    if plan.exclusive:
        yield "stable is stopped before the candidate starts; requests of its services wait meanwhile"


def _step(plan: Plan, number: int) -> str:
    step = plan.steps[number]
    before = [
        *(["smoke checks"] if step.smoke else []),
        *(["a person's approval"] if step.approval else []),
        *([f"a time in {' or '.join(step.windows)} ({plan.timezone})"] if step.windows else []),
    ]
    after = f"after {' and '.join(before)}, " if before else ""
    return f"{after}{_shares(step)}, {_waits(step)}"


def _shares(step: Step) -> str:
    shares = f"{step.weight:.0%} of conversations"
    if step.routes:
        shares += f" ({', '.join(f'{route} {weight:.0%}' for route, weight in step.routes)})"
    return shares + (f", {step.shadow:.0%} of stable's requests copied" if step.shadow else "")


def _waits(step: Step) -> str:
    waits = [f"at least {step.min_conversations} of them"] if step.traffic and step.weight else []
    if step.shadow:
        waits.append(f"at least {step.min_pairs} compared pairs")
    waits.append(f"{step.min_bake_s:g} s" if step.min_bake_s < 2 * _MINUTE_S else span(step.min_bake_s))
    return " and ".join(waits)


def _end(plan: Plan) -> Iterator[str]:
    if plan.steps[-1].weight < 1.0 or plan.segments:
        yield "it stays at the last step until `shipway rollout promote` or `shipway rollout abort`"
    elif plan.ask_to_promote:
        yield "then everybody, once a person has approved it"
    if plan.watch.action != WATCH_OFF:
        act = "going back is proposed" if plan.watch.action == PROPOSE else "it goes back"
        yield f"then watched for {span(plan.watch.for_s)}; when more conversations turn bad than before, {act}"
    if plan.keep_s:
        yield f"stable's processes are kept for {span(plan.keep_s)} after that, so that going back is instant"


def _duration_s(plan: Plan, number: int, conversations_per_s: float, bad_rate: float) -> float | None:
    """Estimate how long a step takes; None while that cannot be known."""
    step = plan.steps[number]
    conversations = _step_conversations(plan, number, bad_rate)
    if conversations_per_s <= 0.0 or conversations is None:
        return None
    # What proves by itself counts a conversation when it is as old as the step's bake time.
    settling_s = step.min_bake_s if proves_no_harm(plan, number) and harmless_needed(plan, bad_rate=bad_rate) else 0.0
    return max(step.min_bake_s, conversations / conversations_per_s + settling_s)


def _step_conversations(plan: Plan, number: int, bad_rate: float) -> int | None:
    step = plan.steps[number]
    if not proves_no_harm(plan, number):
        return step.min_conversations
    ways = [math.ceil(bad_needed(plan, number) / bad_rate)] if bad_rate > 0.0 else []
    harmless = harmless_needed(plan, bad_rate=bad_rate)
    if harmless is not None:
        ways.append(math.ceil(harmless / step.weight))
    return max(step.min_conversations, min(ways)) if ways else None


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
