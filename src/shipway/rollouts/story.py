"""Why a rollout stands where it stands, in words and as a plot; `shipway rollout explain` prints it. Pure."""

import math
from collections.abc import Iterator, Sequence

from shipway.core.verdicts import Verdict
from shipway.rollouts.actions import Hold
from shipway.rollouts.analysis import Judgement
from shipway.rollouts.curve import Curve
from shipway.rollouts.entering import at_its_last_step, permission
from shipway.rollouts.model import Phase, Rollout, RolloutState
from shipway.rollouts.plan import Plan, proves_no_harm, stays
from shipway.rollouts.plan_text import span
from shipway.rollouts.readings import combined_e

_WIDTH, _HEIGHT = 60, 9
_HARM, _NO_HARM, _LIMIT = "*", "o", "-"
# Below one in a thousand an e-value says no more than that nothing speaks for it.
_LOWEST = -3.0
# Beyond it a float has no number.
_HIGHEST = 300.0


def story(rollout: Rollout, judgement: Judgement, now_s: float) -> list[str]:
    """Return the lines that explain a rollout at a Unix time."""
    return [
        *_place(rollout, now_s),
        "",
        *_verdict(rollout, judgement, now_s),
        "",
        "evidence of harm, by metric (an e-value of 1 says nothing; at the number needed it rolls back by itself):",
        *_metrics(judgement),
        *_together(rollout.plan, judgement),
        "",
        *_promotion(rollout, judgement),
        "",
        "fixed rules:",
        *_rules(judgement),
        "",
        *plot(rollout.evidence.curve, rollout.plan),
    ]


def waiting(rollout: Rollout, judgement: Judgement, now_s: float) -> str:
    """Return what a rollout under way waits for; "" when it has ended, goes back or is paused."""
    if rollout.state not in {RolloutState.PENDING, RolloutState.PROGRESSING}:
        return ""
    if rollout.phase is Phase.INTENT:
        return "every worker has to obey first"
    begins = rollout.state is RolloutState.PENDING or judgement.verdict is Verdict.PASS
    held = permission(rollout, rollout.step + 1, now_s) if begins else None
    if isinstance(held, Hold):
        return held.reason
    if rollout.state is RolloutState.PROGRESSING:
        return _at_step(rollout, judgement)
    if rollout.times.services_s is None:
        return f"{rollout.candidate} is about to be started"
    since = span(now_s - rollout.times.services_s)
    asked = ", and its smoke checks to pass" if rollout.plan.steps[0].smoke else ""
    return f"{rollout.candidate} has to be healthy{asked}, {since} so far; see `shipway status`"


def _at_step(rollout: Rollout, judgement: Judgement) -> str:
    """Return what a step in force waits for."""
    reasons = "; ".join(judgement.reasons)
    is_last = rollout.step + 1 == len(rollout.plan.steps)
    if is_last and judgement.verdict is Verdict.PASS and stays(rollout.plan):
        return f"{reasons}; {at_its_last_step(rollout)}"
    frozen = judgement.verdict is Verdict.FAIL and rollout.plan.on_harm == "freeze"
    return f"frozen: {reasons}" if frozen else reasons


def plot(curve: Curve, plan: Plan) -> list[str]:
    """Return the evidence over time, on a logarithmic scale; a line when there is too little to draw."""
    points = curve.points
    if len(points) <= 1 or points[-1][0] <= points[0][0]:
        return ["no curve yet: it takes two looks at new records"]
    limits = (math.log10(1.0 / plan.alpha), math.log10(1.0 / plan.promote_alpha))
    series = [[_log(point[1]) for point in points], [_log(point[2]) for point in points]]
    high = max(*limits, *(value for values in series for value in values)) * 1.05
    low = min(0.0, *(value for values in series for value in values))
    rows = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for limit in limits:
        row = rows[_row(limit, low, high)]
        row[::3] = [_LIMIT] * len(row[::3])
    start_s, end_s = points[0][0], points[-1][0]
    for mark, values in ((_NO_HARM, series[1]), (_HARM, series[0])):
        for (at_s, _, _), value in zip(points, values, strict=True):
            rows[_row(value, low, high)][round((at_s - start_s) / (end_s - start_s) * (_WIDTH - 1))] = mark
    return [
        f"evidence over {span(end_s - start_s)} ({_HARM} harm, {_NO_HARM} no harm, {_LIMIT} where a decision falls):",
        *(f"  {label:>8} |{''.join(row).rstrip()}" for label, row in zip(_labels(low, high), rows, strict=True)),
        f"  {'':>8} +{'-' * _WIDTH}",
    ]


def _log(e_value: float) -> float:
    return max(math.log10(e_value), _LOWEST) if e_value > 0.0 else _LOWEST


def _row(value: float, low: float, high: float) -> int:
    share = (value - low) / (high - low)
    return min(_HEIGHT - 1, max(0, round((1.0 - share) * (_HEIGHT - 1))))


def _labels(low: float, high: float) -> list[str]:
    values = (high - (high - low) * row / (_HEIGHT - 1) for row in range(_HEIGHT))
    return [f"{10.0 ** min(value, _HIGHEST):.2g}" for value in values]


def _place(rollout: Rollout, now_s: float) -> Iterator[str]:
    yield f"rollout {rollout.id}: {rollout.state.value}, strategy {rollout.plan.strategy}"
    yield f"  {rollout.stable} -> {rollout.candidate} on {', '.join(rollout.routes)}"
    if 0 <= rollout.step < len(rollout.plan.steps) and not rollout.finished:
        step = rollout.plan.steps[rollout.step]
        since = "" if rollout.times.step_s is None else f" for {span(now_s - rollout.times.step_s)}"
        phase = "" if rollout.phase is Phase.APPLIED else ", not yet on every worker"
        shares = ", ".join(f"{route} {weight:.0%}" for route, weight in step.routes)
        told = f" ({shares})" if shares else ""
        yield f"  step {rollout.step + 1} of {len(rollout.plan.steps)}: {step.weight:.0%}{told}{since}{phase}"


def _verdict(rollout: Rollout, judgement: Judgement, now_s: float) -> Iterator[str]:
    if rollout.finished or rollout.state in {RolloutState.ROLLING_BACK, RolloutState.PROMOTING}:
        yield f"decided: {rollout.reason or rollout.state.value}"
        return
    if rollout.state is RolloutState.PAUSED:
        yield f"paused ({rollout.code.value}): {rollout.reason}"
    yield f"now: {judgement.verdict.value}: {waiting(rollout, judgement, now_s) or '; '.join(judgement.reasons)}"
    if judgement.verdict is Verdict.FAIL:
        return
    if judgement.eta_s is not None:
        yield f"  at this traffic the proof takes about {span(judgement.eta_s)} more"
    elif judgement.events_needed is not None:
        yield f"  the proof takes about {judgement.events_needed} bad conversations of both arms; no ETA yet"


def _metrics(judgement: Judgement) -> Iterator[str]:
    for reading in judgement.readings:
        text = reading.text.removeprefix(f"{reading.name}: ")
        if reading.judged:
            yield f"  {reading.name:<12} {reading.e_value:>10.3g} of {reading.needed:<8.3g} {text}"
        else:
            yield f"  {reading.name:<12} {'not judged':>10}    {'':<8} {text}"


def _together(plan: Plan, judgement: Judgement) -> Iterator[str]:
    if judgement.readings:
        together = combined_e(judgement.readings)
        yield f"  {'together':<12} {together:>10.3g} of {1.0 / plan.alpha:<8.3g} their mean by share"
    else:
        yield "  nothing has been counted so far"


def _promotion(rollout: Rollout, judgement: Judgement) -> Iterator[str]:
    plan = rollout.plan
    required = any(proves_no_harm(plan, number) for number in range(len(plan.steps)))
    name = "evidence of no harm" if required else "evidence of no harm (no step waits for it)"
    yield (
        f"{name}: {judgement.no_harm_e:.3g} of {1.0 / plan.promote_alpha:.3g}"
        f" (ruling out {plan.harm_ratio:g} times stable's rate of bad conversations"
        + (f", or a rate of {plan.harmless_rate:.2%})" if plan.harmless_rate is not None else ")")
    )
    yield (
        f"sample ratio: e-value {judgement.sample_ratio_e:.3g} of {1.0 / plan.sample_ratio_alpha:.3g}"
        f" ({rollout.evidence.sample_ratio.candidates} conversations on the candidate,"
        f" {rollout.evidence.sample_ratio.stable} on stable)"
    )


def _rules(judgement: Judgement) -> Sequence[str]:
    lines = []
    for rule in judgement.rules:
        state = "not judged" if not rule.judged else "BROKEN" if rule.broken else "holds"
        lines.append(f"  {rule.name:<16} {state:<10} {rule.action:<8} {rule.text}")
    return lines or ["  none is on"]
