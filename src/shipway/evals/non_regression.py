"""Non-regression gates: paired differences per case, clustered sign-flip test, Holm over the gates.

`gates` calls this. FAIL needs a significant drop of delta or more, PASS a drop of delta ruled out; anything else is
INCONCLUSIVE with the number of cases that would decide.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateRow
from shipway.evals.gate_spec import NonRegressionGate
from shipway.evals.metrics import Metric
from shipway.evals.model import Case
from shipway.evals.sample import Sample
from shipway.stats.paired import (
    PairedResult,
    decide_non_regression,
    holm,
    n_needed,
    paired_test,
    smallest_visible_delta,
)

# The delta is fixed before the run, so it cannot use the run's variance: 10 % of cases changing between 0 and 1.
ASSUMED_SD = 0.32
# An automatic delta above this would call a release fine that may have lost a quarter of its answers.
MAX_AUTO_DELTA = 0.25
# Metrics without a scale, such as latency: an automatic delta is at least this share of the baseline.
RELATIVE_DELTA = 0.02


@dataclass(frozen=True, slots=True)
class _Pairing:
    spec: NonRegressionGate
    metric: Metric
    candidate: Sample
    baseline: Sample
    result: PairedResult
    delta: float
    visible: float


def visible_delta(cases: Sequence[Case], alpha: float) -> float:
    """Compute the smallest drop of a score in [0, 1] that these cases can see; infinite for one cluster."""
    clusters = {case.cluster_name for case in cases}
    return smallest_visible_delta(len(clusters), len(cases), ASSUMED_SD, alpha=alpha)


def check_delta(spec: NonRegressionGate, metric: Metric, cases: Sequence[Case]) -> None:
    """Refuse a delta that the dataset cannot see.

    Raises:
        UsageError: with the smallest delta that it can.
    """
    if spec.delta == "auto" or not metric.bounded or not cases:
        return
    visible = visible_delta(cases, spec.alpha)
    # The limit is printed with three digits; what is printed must be accepted.
    if spec.delta < math.floor(visible * 1000) / 1000 if math.isfinite(visible) else True:
        can = f"it can see {visible:.3f}" if math.isfinite(visible) else "they share one cluster, which shows none"
        raise UsageError(
            f"gate '{spec.label}': {len(cases)} cases cannot see a drop of {spec.delta:g}; {can}",
            hint="Write `non_regression: auto`, a larger drop, or add cases from other documents.",
        )


def paired_drop(candidate: Sample, baseline: Sample, metric: Metric) -> tuple[float, float]:
    """Return by how much the candidate is worse on the paired cases: absolute, and as the warning rule compares it.

    The second is the same for scores in [0, 1] and a share of the baseline's mean otherwise.
    """
    cases, differences = _differences(candidate, baseline, metric)
    if not cases:
        return 0.0, 0.0
    drop = -statistics.fmean(differences)
    scale = 1.0 if metric.bounded else abs(baseline.mean or 0.0)
    if scale == 0.0:
        return drop, math.copysign(math.inf, drop) if drop else 0.0
    return drop, drop / scale


def non_regression_rows(
    arms: Mapping[NonRegressionGate, tuple[Sample, Sample]],
    metrics: Mapping[str, Metric],
    *,
    seed: int,
    permutations: int,
) -> dict[NonRegressionGate, GateRow]:
    """Judge every non-regression gate; `arms` holds the samples of candidate and baseline."""
    rows: dict[NonRegressionGate, GateRow] = {}
    pairings: dict[NonRegressionGate, _Pairing] = {}
    for spec, (candidate, baseline) in arms.items():
        metric = metrics[spec.metric]
        row = _unmeasured(spec, candidate, baseline)
        cases, differences = _differences(candidate, baseline, metric)
        if row is not None or not cases:
            rows[spec] = row or _row(spec, candidate, baseline, Verdict.NO_DATA, "no case was scored in both runs")
            continue
        clusters = [case.cluster_name for case in cases]
        result = paired_test(differences, clusters, alpha=spec.alpha, seed=seed, permutations=permutations)
        delta, visible = _delta(spec, metric, cases, result, baseline)
        pairings[spec] = _Pairing(spec, metric, candidate, baseline, result, delta, visible)
    labels = {f"{index}": pairing for index, pairing in enumerate(pairings.values())}
    adjusted = holm({label: pairing.result.p_value for label, pairing in labels.items()})
    rows.update({pairing.spec: _decided(pairing, adjusted[label]) for label, pairing in labels.items()})
    return rows


def _differences(candidate: Sample, baseline: Sample, metric: Metric) -> tuple[list[Case], list[float]]:
    before = {case.id: value for case, value in zip(baseline.cases, baseline.values, strict=True)}
    pairs = [
        (case, metric.sign * (value - before[case.id]))
        for case, value in zip(candidate.cases, candidate.values, strict=True)
        if case.id in before
    ]
    return [case for case, _ in pairs], [difference for _, difference in pairs]


def _delta(
    spec: NonRegressionGate, metric: Metric, cases: Sequence[Case], result: PairedResult, baseline: Sample
) -> tuple[float, float]:
    """Return the delta to judge by and the smallest one at which PASS is honest."""
    if not metric.bounded:
        floor = RELATIVE_DELTA * abs(baseline.mean or 0.0) or math.ulp(1.0)
        auto = max(floor, result.minimum_detectable_effect if math.isfinite(result.standard_error) else floor)
        return (auto if spec.delta == "auto" else spec.delta), 0.0
    if spec.delta == "auto":
        visible = visible_delta(cases, spec.alpha)
        return min(visible, MAX_AUTO_DELTA), visible
    # Fewer pairs than the dataset has cases: at least what so many unchanged clusters leave possible must be ruled out.
    return spec.delta, smallest_visible_delta(result.n_clusters, result.n, 0.0, alpha=spec.alpha)


def _decided(pairing: _Pairing, adjusted_p: float) -> GateRow:
    spec, result, delta = pairing.spec, pairing.result, pairing.delta
    decision = decide_non_regression(result, adjusted_p=adjusted_p, alpha=spec.alpha, delta=delta)
    verdict = Verdict(decision)
    message = f"a drop of {delta:.3g} is what this gate judges"
    needed = n_needed(result.standard_error, result.n, delta, spec.alpha)
    # The margin was floored to three digits when the gate was written.
    if verdict is Verdict.PASS and pairing.visible > delta + 1e-3:
        verdict = Verdict.INCONCLUSIVE
        message = f"{result.n} paired cases in {result.n_clusters} clusters cannot rule out a drop of {delta:.3g}"
    elif verdict is Verdict.INCONCLUSIVE and needed is not None and needed > result.n:
        message = f"about {needed} cases would decide on a drop of {delta:.3g}"
    elif verdict is Verdict.INCONCLUSIVE:
        message = f"a drop of {delta:.3g} is neither shown nor ruled out; add repeats or cases from other documents"
    row = _row(spec, pairing.candidate, pairing.baseline, verdict, message)
    return _with_result(row, pairing, adjusted_p, needed)


def _with_result(row: GateRow, pairing: _Pairing, adjusted_p: float, needed: int | None) -> GateRow:
    result = pairing.result
    unpaired = len({case.id for case in (*pairing.candidate.cases, *pairing.baseline.cases)}) - result.n
    note = f"; {unpaired} cases scored in one run only are left out" if unpaired else ""
    return GateRow(
        gate=row.gate,
        metric=row.metric,
        kind=row.kind,
        verdict=row.verdict,
        message=row.message + note,
        value=row.value,
        baseline_value=row.baseline_value,
        difference=result.mean_difference,
        bound=result.lower_bound,
        limit=-pairing.delta,
        n=result.n,
        n_clusters=result.n_clusters,
        n_needed=needed,
        expected=row.expected,
        missing=row.missing,
        p_value=result.p_value,
        adjusted_p=adjusted_p,
        alpha=row.alpha,
    )


def _unmeasured(spec: NonRegressionGate, candidate: Sample, baseline: Sample) -> GateRow | None:
    for arm, sample in (("candidate", candidate), ("baseline", baseline)):
        if sample.too_many_missing:
            message = f"{arm}: {sample.missing} of {sample.expected} scores are missing; first: {sample.reasons[0]}"
            return _row(spec, candidate, baseline, Verdict.ERROR, message)
    return None


def _row(spec: NonRegressionGate, candidate: Sample, baseline: Sample, verdict: Verdict, message: str) -> GateRow:
    return GateRow(
        gate=spec.label,
        metric=spec.metric,
        kind="non_regression",
        verdict=verdict,
        message=message,
        value=candidate.mean,
        baseline_value=baseline.mean,
        n=candidate.n,
        n_clusters=len(set(candidate.clusters)),
        expected=candidate.expected + baseline.expected,
        missing=candidate.missing + baseline.missing,
        alpha=spec.alpha,
    )
