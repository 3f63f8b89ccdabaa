"""What the counts of a rollout say of each metric, in figures and in words. Pure; `analysis` calls it at every look.

Each reading is an e-value against "no harm by this metric". Their mean, weighted by the shares, is one against "no harm
at all": at 1 / alpha the rollout fails. That is never later than when one of them reaches 1 / (alpha * share) alone.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from shipway.core.observation import QUALITY
from shipway.rollouts.baseline import known_bad_rate
from shipway.rollouts.evidence import CanaryEvidence
from shipway.rollouts.measuring import frozen_limits
from shipway.rollouts.metrics import (
    ALONE,
    BAD,
    EVENT,
    LOW,
    MEAN,
    OVER,
    PAIRS,
    SCORE,
    SLOWER,
    Metric,
    MetricReading,
    shares,
)
from shipway.rollouts.plan import Plan
from shipway.stats.betting import pair_e_harm, pair_e_no_harm
from shipway.stats.excess import e_value_above
from shipway.stats.means import MIN_VALUES, Shift, shift
from shipway.stats.sequential import e_value_harm, e_value_of_counts

# How far beyond the margin an effect that matters lies: half again in a mean, a tenth of a score.
_LOG_SCALE, _SCORE_SCALE = 0.5, 0.1
_HIGHEST_LIMIT = 0.95


def metric_readings(evidence: CanaryEvidence, plan: Plan) -> tuple[MetricReading, ...]:
    """Return what is known of the bad conversations and of each metric of the plan, also of those not judged."""
    parts = shares(plan.metrics, available(evidence, plan))
    found = [_bad(evidence), *(_READERS[metric.kind](metric, evidence, plan) for metric in plan.metrics)]
    return tuple(_with_share(reading, parts.get(reading.name, 0.0), plan.alpha) for reading in found)


def combined_e(readings: Iterable[MetricReading]) -> float:
    """Return the evidence against "no harm at all"; at 1 / alpha or more, at any look, roll back.

    Source: Vovk and Wang 2019, arXiv 1912.06116, the mean of e-values.
    """
    return math.fsum(reading.share * reading.e_value for reading in readings if reading.judged)


def harm_reason(readings: Sequence[MetricReading], alpha: float) -> str:
    """Return why a rollout fails: the readings that would do alone, or the two strongest of those that do together."""
    judged = sorted((item for item in readings if item.judged), key=lambda item: -item.share * item.e_value)
    alone = [item for item in judged if item.e_value >= item.needed]
    if alone:
        return "; ".join(f"{item.text}: harm e-value {item.e_value:.3g}, {item.needed:.3g} needed" for item in alone)
    texts = " and ".join(f"{item.text} (e-value {item.e_value:.3g})" for item in judged[:2])
    return f"together {texts} are evidence of harm: {combined_e(readings):.3g}, {1.0 / alpha:.3g} needed"


def available(evidence: CanaryEvidence, plan: Plan) -> frozenset[str]:
    """Return what can be judged at all, by the plan and by what was known before the first record, and by no data."""
    weights = {weight for step in plan.steps for weight in step.weights()}
    split = any(0.0 < weight < 1.0 for weight in weights)
    names = {metric.name for metric in plan.metrics if _is_available(metric, evidence, plan, split=split)}
    if ALONE in {metric.kind for metric in plan.metrics} and not (1.0 in weights and _may_know(evidence, split=split)):
        names -= {metric.name for metric in plan.metrics if metric.kind == ALONE}
    return frozenset({*names, BAD} if split else names)


def _may_know(evidence: CanaryEvidence, *, split: bool) -> bool:
    baseline = evidence.baseline
    return split or (baseline is not None and baseline.total.bad_rate is not None)


def _is_available(metric: Metric, evidence: CanaryEvidence, plan: Plan, *, split: bool) -> bool:
    baseline = evidence.baseline
    match metric.kind:
        case kind if kind == ALONE:
            return True
        case kind if kind == PAIRS:
            return plan.shadows
        case kind if kind == SLOWER:
            return split and bool(frozen_limits(metric, baseline))
        case kind if kind == SCORE and metric.of == QUALITY:
            # Nobody judges answers where none was judged before.
            return split and (baseline is None or baseline.total.quality is not None)
        case kind if kind == MEAN and metric.of == "cost_usd":
            # An engine of one's own costs nothing by the request.
            return split and (baseline is None or baseline.total.cost_p95_usd != 0.0)
        case _:
            return split


def _with_share(reading: MetricReading, share: float, alpha: float) -> MetricReading:
    if share <= 0.0:
        # It may have figures, but no part of alpha: only what was fixed before the first record has.
        return MetricReading(reading.name, judged=False, text=reading.text, no_harm_e=reading.no_harm_e)
    return MetricReading(
        reading.name,
        judged=reading.judged,
        text=reading.text,
        e_value=reading.e_value,
        needed=1.0 / (alpha * share),
        share=share,
        no_harm_e=reading.no_harm_e,
    )


def _bad(evidence: CanaryEvidence) -> MetricReading:
    total = evidence.total()
    text = (
        f"bad conversations {total.candidate.bad} of {total.candidate.conversations} on the candidate,"
        f" {total.stable.bad} of {total.stable.conversations} on stable"
    )
    return MetricReading(BAD, judged=True, text=text, e_value=e_value_harm(evidence.process))


def _events(metric: Metric, evidence: CanaryEvidence, plan: Plan) -> MetricReading:  # noqa: ARG001 - one table
    what = _what(metric, evidence)
    if not what:
        return MetricReading(metric.name, judged=False, text=f"stable's {metric.of} before the rollout is not known")
    counts = evidence.sums(metric.name).events
    strata = [(stratum.weight, *count) for stratum, count in zip(evidence.strata, counts, strict=False)]
    total, candidate, stable = evidence.total(), sum(one for one, _ in counts), sum(other for _, other in counts)
    text = (
        f"{metric.name}: {what} in {candidate} of {total.candidate.conversations} conversations on the candidate,"
        f" {stable} of {total.stable.conversations} on stable"
    )
    return MetricReading(metric.name, judged=True, text=text, e_value=e_value_of_counts(strata, r0=metric.ratio))


def _what(metric: Metric, evidence: CanaryEvidence) -> str:
    match metric.kind:
        case kind if kind == EVENT:
            return ", ".join(metric.events)
        case kind if kind == SLOWER:
            limits = frozen_limits(metric, evidence.baseline)
            shown = ", ".join(f"{limit:.0f} ms on {route}" for route, limit in sorted(limits.items()))
            return f"{metric.of} over stable's {metric.quantile:.0%} quantile of before ({shown})" if shown else ""
        case kind if kind == LOW:
            return f"{metric.of} below {metric.limit:g}"
        case _:
            return f"{metric.of} over {metric.limit:g}"


def _mean(metric: Metric, evidence: CanaryEvidence, plan: Plan) -> MetricReading:  # noqa: ARG001 - one table
    moments = evidence.sums(metric.name).moments
    found = shift(moments, margin=math.log1p(metric.margin), scale=_LOG_SCALE)
    if found is None or found.e_value is None:
        return _too_few(metric, found)
    text = (
        f"{metric.name}: {metric.of} changed by {math.expm1(found.difference):+.0%} (times"
        f" {math.exp(found.error):.2f} either way), up to {metric.margin:+.0%} is no harm"
    )
    return MetricReading(metric.name, judged=True, text=text, e_value=found.e_value)


def _score(metric: Metric, evidence: CanaryEvidence, plan: Plan) -> MetricReading:  # noqa: ARG001 - one table
    # A drop of the candidate is a rise of stable over it.
    arms = [(stable, candidate) for candidate, stable in evidence.sums(metric.name).moments]
    found = shift(arms, margin=metric.margin, scale=_SCORE_SCALE)
    if found is None or found.e_value is None:
        return _too_few(metric, found)
    text = (
        f"{metric.name}: mean {metric.of} changed by {-found.difference:+.3f} (standard error {found.error:.3f}),"
        f" down to {-metric.margin:+.3f} is no harm"
    )
    return MetricReading(metric.name, judged=True, text=text, e_value=found.e_value)


def _too_few(metric: Metric, found: Shift | None) -> MetricReading:
    what = "no" if found is None else f"fewer than {MIN_VALUES}"
    return MetricReading(metric.name, judged=False, text=f"{metric.name}: {what} values of {metric.of} of both arms")


def _pairs(metric: Metric, evidence: CanaryEvidence, plan: Plan) -> MetricReading:
    state = evidence.sums(metric.name).pairs
    if state is None:
        why = "no shadow pairs yet" if plan.shadows else "the plan copies no requests"
        return MetricReading(metric.name, judged=False, text=f"{metric.name}: {why}")
    text = (
        f"{metric.name}: the candidate is {state.mean:+.3f} apart from stable in {state.count} pairs,"
        f" down to {-state.harm:+.3f} is no harm"
    )
    no_harm_e = pair_e_no_harm(state)
    return MetricReading(metric.name, judged=True, text=text, e_value=pair_e_harm(state), no_harm_e=no_harm_e)


def _alone(metric: Metric, evidence: CanaryEvidence, plan: Plan) -> MetricReading:  # noqa: ARG001 - one table
    everybody = evidence.stratum(1.0).candidate
    stable = [(stratum.stable.bad, stratum.stable.conversations) for stratum in evidence.strata]
    rate = known_bad_rate(evidence.baseline, [(sum(bad for bad, _ in stable), sum(n for _, n in stable))])
    if rate is None:
        return MetricReading(metric.name, judged=False, text=f"{metric.name}: stable's bad conversations are not known")
    if not everybody.conversations:
        return MetricReading(metric.name, judged=False, text=f"{metric.name}: not everybody is on the candidate")
    limit = min(rate * metric.ratio, _HIGHEST_LIMIT)
    good = everybody.conversations - everybody.bad
    text = (
        f"{metric.name}: {everybody.bad} of {everybody.conversations} conversations turned bad with everybody on the"
        f" candidate, {limit:.2%} is {metric.ratio:g} times what stable's rate may have been"
    )
    e_value = e_value_above(good=good, bad=everybody.bad, limit=limit)
    return MetricReading(metric.name, judged=True, text=text, e_value=e_value)


_READERS: dict[str, Callable[[Metric, CanaryEvidence, Plan], MetricReading]] = {
    EVENT: _events,
    SLOWER: _events,
    OVER: _events,
    LOW: _events,
    MEAN: _mean,
    SCORE: _score,
    PAIRS: _pairs,
    ALONE: _alone,
}
