"""A rollout's plan as lines for people, before anything changes. Pure; services print them."""

import math
from collections.abc import Iterator, Sequence

from shipway.rollouts.estimate import StepTime, Traffic, promoted_in_s, step_times, too_short
from shipway.rollouts.metrics import PAIRS
from shipway.rollouts.plan import Plan, Step, bad_needed, harmless_needed, pairs_needed, proves_no_harm, stays
from shipway.rollouts.plan_check import warnings
from shipway.rollouts.rules import PAUSE, ROLLBACK, RULES
from shipway.rollouts.watch import OFF as WATCH_OFF
from shipway.rollouts.watch import PROPOSE

_MINUTE_S, _HOUR_S, _DAY_S = 60.0, 3600.0, 86_400.0


def printable(
    plan: Plan, *, conversations_per_s: float = 0.0, bad_rate: float = 0.0, now_s: float | None = None
) -> list[str]:
    """Return the plan as lines, with how long it takes at a traffic and a share of bad conversations (0 = unknown).

    `now_s` is the Unix time of the deploy: windows open some time after it.
    """
    traffic = Traffic(conversations_per_s, bad_rate, now_s)
    times = step_times(plan, traffic)
    short = too_short(plan, times, traffic)
    lines = list(_rules(plan))
    for number, time in enumerate(times):
        lines.append(f"step {number + 1}: {_step(plan, number)}{_proof(plan, number)}{_eta(plan.steps[number], time)}")
    lines.extend(_end(plan))
    lines.extend(_outlook(plan, times, traffic, is_cut=bool(short)))
    return lines + [f"warning: {warning}" for warning in (*short, *warnings(plan))]


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
    if step.shadow and step.weights() == {0.0}:
        waits.append(f"at least {step.min_pairs} compared pairs")
    waits.append(f"{step.min_bake_s:g} s" if step.min_bake_s < 2 * _MINUTE_S else span(step.min_bake_s))
    return " and ".join(waits)


def _eta(step: Step, time: StepTime) -> str:
    waits = f", not before {span(time.wait_s)} from now on" if time.wait_s else ""
    if time.lasts_s is None:
        return waits
    ends = f", but it ends after max_s = {step.max_s:g}" if step.max_s is not None and step.max_s < time.lasts_s else ""
    return f"{waits}, about {span(time.lasts_s)}{ends}"


def _outlook(plan: Plan, times: Sequence[StepTime], traffic: Traffic, *, is_cut: bool) -> Iterator[str]:
    """Yield when a healthy candidate has what it can get by itself, or why that is not known."""
    if plan.segments:
        yield "no ETA: how much of the traffic comes from these callers is not known"
        return
    total_s = promoted_in_s(times)
    if total_s is None:
        known = traffic.conversations_per_s > 0.0
        closed = any(time.wait_s is None for time in times)
        what = "when the windows open" if closed else "stable's rate of bad conversations" if known else "traffic"
        yield f"no ETA: {what} is not known"
        return
    if is_cut:
        yield "no ETA: a time limit comes before the evidence, see the warnings"
        return
    asked = plan.ask_to_promote or any(step.approval for step in plan.steps)
    people = ", and what people take to approve" if asked else ""
    waits_s = math.fsum(time.wait_s or 0.0 for time in times)
    closed_for = f", of which {span(waits_s)} are waits for a window" if waits_s else ""
    where = "at its last step" if stays(plan) else "promoted"
    yield f"healthy candidate {where} in about {span(total_s)}{closed_for}{people}"


def _end(plan: Plan) -> Iterator[str]:
    if stays(plan):
        yield "it stays at the last step until `shipway rollout promote` or `shipway rollout abort`"
    elif plan.ask_to_promote:
        yield "then everybody, once a person has approved it"
    if plan.watch.action != WATCH_OFF:
        act = "going back is proposed" if plan.watch.action == PROPOSE else "it goes back"
        yield f"then watched for {span(plan.watch.for_s)}; when more conversations turn bad than before, {act}"
    if plan.keep_s:
        yield f"stable's processes are kept for {span(plan.keep_s)} after that, so that going back is instant"


def _proof(plan: Plan, number: int) -> str:
    step = plan.steps[number]
    if step.shadow and step.weights() == {0.0} and step.prove is not False:
        return f", until they show no harm (about {pairs_needed(plan)} pairs of equally good answers)"
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
