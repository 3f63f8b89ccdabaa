"""Gates on one run alone: thresholds, quantiles and zero tolerance; `gates` calls this.

A bound is compared with the limit, never the mean.
"""

import math
from dataclasses import replace

from shipway.core.verdicts import Verdict
from shipway.evals.bounds import Bounds, bounds_of, cases_needed, n_for_share, share_bounds
from shipway.evals.gate_report import GateKind, GateRow, Needed
from shipway.evals.gate_spec import GateSpec, ThresholdGate, ZeroToleranceGate
from shipway.evals.metrics import Metric
from shipway.evals.sample import Sample
from shipway.stats.clusters import clustered_mean
from shipway.stats.paired import minimum_detectable
from shipway.stats.proportions import clopper_pearson_upper, n_for_zero_failures, zero_failures_upper


def unmeasured_row(spec: GateSpec, kind: GateKind, sample: Sample) -> GateRow:
    """Return the row of a gate before its decision: NO_DATA, or ERROR when too much is missing."""
    row = GateRow(
        gate=spec.label,
        metric=spec.metric,
        kind=kind,
        verdict=Verdict.NO_DATA,
        message="no case to which the metric applies",
        value=sample.mean,
        n=sample.n,
        n_clusters=len(set(sample.clusters)),
        expected=sample.expected,
        missing=sample.missing,
        alpha=spec.alpha,
    )
    if sample.too_many_missing:
        return replace(row, verdict=Verdict.ERROR, message=missing_message(sample))
    return row


def missing_message(sample: Sample) -> str:
    """Return how many scores are missing, and why the first of them is."""
    return f"{sample.missing} of {sample.expected} scores are missing; first: {sample.reasons[0]}"


def threshold_row(spec: ThresholdGate, metric: Metric, sample: Sample, level: float) -> GateRow:
    """Judge a threshold at a level."""
    row = unmeasured_row(spec, "threshold", sample)
    if sample.too_many_missing or not sample.values:
        return row
    if spec.quantile is not None:
        return _quantile_row(spec, metric, sample, row, level)
    bounds = bounds_of(sample, metric, level, cluster_robust=spec.cluster_robust)
    both = bounds_of(sample, metric, level / 2, cluster_robust=spec.cluster_robust)
    verdict, bound = _beyond(bounds, spec.limit, metric.sign)
    needed = None
    if verdict is Verdict.INCONCLUSIVE:
        needed = cases_needed(sample, metric, spec.limit, level, cluster_robust=spec.cluster_robust)
    text = _advice(sample, needed)
    error = clustered_mean(sample.values, sample.clusters).standard_error
    least = zero_failures_upper(sample.n, level) if metric.bounded else 0.0
    return replace(
        row,
        verdict=verdict,
        bound=bound,
        limit=spec.limit,
        n_needed=needed,
        message=text if verdict is Verdict.INCONCLUSIVE else "",
        interval=(both.lower, both.upper) if math.isfinite(both.lower + both.upper) else None,
        mde=max(minimum_detectable(error, level), least),
        needed=Needed(needed, None, text) if verdict is Verdict.INCONCLUSIVE else None,
    )


def zero_tolerance_row(spec: ZeroToleranceGate, metric: Metric, sample: Sample, level: float) -> GateRow:
    """Judge a metric of which no case may be wrong."""
    row = unmeasured_row(spec, "zero_tolerance", sample)
    violations = sum(metric.sign * (value - (1.0 if metric.sign > 0 else 0.0)) < 0 for value in sample.worst)
    needed = None if spec.max_rate is None else n_for_zero_failures(spec.max_rate, level)
    row = replace(row, limit=spec.max_rate, n_needed=needed)
    if violations:
        upper = clopper_pearson_upper(violations, sample.n, level)
        message = f"{violations} of {sample.n} cases violate it; none may"
        return replace(row, verdict=Verdict.FAIL, bound=upper, message=message)
    # The one score that is missing may be the leak, so no share of them is small enough here.
    if sample.missing:
        return replace(row, verdict=Verdict.ERROR, message=missing_message(sample))
    if not sample.values:
        return row
    upper = zero_failures_upper(sample.n, level)
    proven = spec.max_rate is None or upper <= spec.max_rate
    text = f"{needed} clean cases would prove it"
    return replace(
        row,
        verdict=Verdict.PASS if proven else Verdict.INCONCLUSIVE,
        bound=upper,
        interval=(0.0, upper),
        message=f"none in {sample.n} cases; the rate is below {upper:.3%} with {1 - level:.0%} confidence"
        + ("" if proven else f"; {text}"),
        needed=None if proven else Needed(needed, None, text),
    )


def _quantile_row(spec: ThresholdGate, metric: Metric, sample: Sample, row: GateRow, level: float) -> GateRow:
    share = spec.quantile if spec.quantile is not None and metric.sign < 0 else 1.0 - (spec.quantile or 0.0)
    hits = sum(metric.sign * (value - spec.limit) >= 0 for value in sample.worst)
    bounds, both = share_bounds(hits, sample.n, level), share_bounds(hits, sample.n, level / 2)
    verdict, bound = _beyond(bounds, share, 1)
    needed = n_for_share(bounds.value, share, level, beyond=sample.n) if verdict is Verdict.INCONCLUSIVE else None
    text = _advice(sample, needed)
    said = f"{hits} of {sample.n} cases within {spec.limit:g}"
    return replace(
        row,
        verdict=verdict,
        value=bounds.value,
        bound=bound,
        limit=share,
        n_needed=needed,
        message=f"{said}; {text}" if verdict is Verdict.INCONCLUSIVE else said,
        interval=(both.lower, both.upper),
        mde=max(
            minimum_detectable(math.sqrt(bounds.value * (1 - bounds.value) / sample.n), level),
            zero_failures_upper(sample.n, level),
        ),
        needed=Needed(needed, None, text) if verdict is Verdict.INCONCLUSIVE else None,
    )


def _beyond(bounds: Bounds, limit: float, sign: int) -> tuple[Verdict, float]:
    """Return the verdict and the bound that gave it; `sign` +1 demands at least the limit, -1 at most."""
    sure, best = (bounds.lower, bounds.upper) if sign > 0 else (bounds.upper, bounds.lower)
    if sign * (sure - limit) >= 0:
        return Verdict.PASS, sure
    return (Verdict.FAIL, best) if sign * (best - limit) < 0 else (Verdict.INCONCLUSIVE, sure)


def _advice(sample: Sample, needed: int | None) -> str:
    if needed is None:
        alone = len(set(sample.clusters)) == 1
        return "cases from other documents decide" if alone else "no number of cases decides it at this score"
    if needed <= sample.n:
        return "cases from more documents decide"
    return f"about {needed} cases would decide at this score"
