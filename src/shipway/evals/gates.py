"""The offline gate: does the evidence allow this release? The evaluation service calls `evaluate_gates`.

The service passes the candidate's run and that of the baseline, both made now, interleaved. The verdict is PASS only
when every gate that applies is proven; scores that could not be measured never help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.baseline import demand_comparable, differing
from shipway.evals.bounds import Bounds, bounds_of, cases_needed, n_for_share, share_bounds
from shipway.evals.gate_report import GateKind, GateReport, GateRow
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, ThresholdGate, ZeroToleranceGate
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Dataset, RunReport
from shipway.evals.non_regression import check_delta, non_regression_rows, paired_drop
from shipway.evals.sample import Sample, draw, judged_cases
from shipway.evals.suggestions import did_you_mean
from shipway.stats.proportions import clopper_pearson_upper, n_for_zero_failures, zero_failures_upper

WARN_DROP = 0.02
"""A drop beyond 2 points (2 % of the baseline for metrics without a scale) is always reported."""


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How to judge.

    Without a baseline, `first_release` lets thresholds decide alone; otherwise its absence is an ERROR.
    `expected_changes` names the digests that the release changes on purpose (`corpus`).
    """

    first_release: bool = False
    expected_changes: frozenset[str] = frozenset()
    seed: int = 0
    permutations: int = 10_000
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)


def check_gates(specs: Sequence[GateSpec], dataset: Dataset, metrics: Mapping[str, Metric] = METRICS) -> None:
    """Refuse gates that make no sense, when they are written and again before they are evaluated.

    Raises:
        UsageError: an unknown metric, a limit on the wrong side, a delta that the dataset is too small to see.
    """
    for spec in specs:
        if spec.metric not in metrics:
            raise UsageError(f"gate on unknown metric {spec.metric!r}; {did_you_mean(spec.metric, metrics)}")
        metric = metrics[spec.metric]
        match spec:
            case ThresholdGate():
                _check_threshold(spec, metric)
            case ZeroToleranceGate() if metric.kind != "proportion":
                raise UsageError(f"gate '{spec.label}': {metric.name} is a mean; give it a threshold instead")
            case NonRegressionGate():
                check_delta(spec, metric, judged_cases(dataset, metric, spec.tags))
            case ZeroToleranceGate():
                pass


def evaluate_gates(
    specs: Sequence[GateSpec],
    candidate: RunReport,
    baseline: RunReport | None,
    options: GateOptions | None = None,
) -> GateReport:
    """Judge a candidate's run, against the baseline's where there is one.

    Raises:
        UsageError: gates that `check_gates` refuses.
        GateRefusedError: candidate and baseline measured different things.
    """
    options = options or GateOptions()
    check_gates(specs, candidate.dataset, options.metrics)
    if baseline is not None:
        demand_comparable(candidate.binding, baseline.binding, expected=options.expected_changes)
    samples = {spec: draw(candidate, options.metrics[spec.metric], spec.tags) for spec in specs}
    paired = _paired_rows(specs, candidate, baseline, options)
    rows: list[GateRow] = []
    for spec in specs:
        metric, sample = options.metrics[spec.metric], samples[spec]
        match spec:
            case ThresholdGate():
                rows.append(_threshold_row(spec, metric, sample))
            case ZeroToleranceGate():
                rows.append(_zero_tolerance_row(spec, metric, sample))
            case NonRegressionGate():
                rows.append(paired[spec])
    return GateReport(tuple(rows), tuple(_warnings(rows, samples, candidate, baseline, options)))


def _check_threshold(spec: ThresholdGate, metric: Metric) -> None:
    if (spec.min is None) == (spec.max is None):
        raise UsageError(f"gate on {metric.name}: set min or max, one of them")
    wanted = "min" if metric.direction == "higher" else "max"
    if getattr(spec, wanted) is None:
        raise UsageError(f"gate '{spec.label}': {metric.direction} is better for {metric.name}; use {wanted}")
    if metric.bounded and not 0.0 <= spec.limit <= 1.0:
        raise UsageError(f"gate '{spec.label}': {metric.name} lies between 0 and 1; the limit {spec.limit:g} does not")
    if spec.quantile is not None and metric.kind == "proportion":
        raise UsageError(f"gate '{spec.label}': {metric.name} is a share, which has no quantile; remove it")


def _unmeasured(spec: GateSpec, kind: GateKind, sample: Sample) -> GateRow:
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
        return replace(row, verdict=Verdict.ERROR, message=_missing_message(sample))
    return row


def _missing_message(sample: Sample) -> str:
    return f"{sample.missing} of {sample.expected} scores are missing; first: {sample.reasons[0]}"


def _threshold_row(spec: ThresholdGate, metric: Metric, sample: Sample) -> GateRow:
    row = _unmeasured(spec, "threshold", sample)
    if sample.too_many_missing or not sample.values:
        return row
    if spec.quantile is not None:
        return _quantile_row(spec, metric, sample, row)
    bounds = bounds_of(sample, metric, spec.alpha, cluster_robust=spec.cluster_robust)
    verdict, bound = _beyond(bounds, spec.limit, metric.sign)
    needed = cases_needed(sample, metric, spec.limit, spec.alpha)
    return replace(
        row, verdict=verdict, bound=bound, limit=spec.limit, n_needed=needed, message=_advice(verdict, sample.n, needed)
    )


def _quantile_row(spec: ThresholdGate, metric: Metric, sample: Sample, row: GateRow) -> GateRow:
    share = spec.quantile if spec.quantile is not None and metric.sign < 0 else 1.0 - (spec.quantile or 0.0)
    hits = sum(metric.sign * (value - spec.limit) >= 0 for value in sample.worst)
    bounds = share_bounds(hits, sample.n, spec.alpha)
    verdict, bound = _beyond(bounds, share, 1)
    needed = n_for_share(bounds.value, share, spec.alpha)
    message = f"{hits} of {sample.n} cases within {spec.limit:g}; {_advice(verdict, sample.n, needed)}".rstrip("; ")
    return replace(row, verdict=verdict, value=bounds.value, bound=bound, limit=share, n_needed=needed, message=message)


def _beyond(bounds: Bounds, limit: float, sign: int) -> tuple[Verdict, float]:
    """Return the verdict and the bound that gave it; `sign` +1 demands at least the limit, -1 at most."""
    sure, best = (bounds.lower, bounds.upper) if sign > 0 else (bounds.upper, bounds.lower)
    if sign * (sure - limit) >= 0:
        return Verdict.PASS, sure
    return (Verdict.FAIL, best) if sign * (best - limit) < 0 else (Verdict.INCONCLUSIVE, sure)


def _advice(verdict: Verdict, n: int, needed: int | None) -> str:
    if verdict is not Verdict.INCONCLUSIVE:
        return ""
    if needed is None or needed <= n:
        return "no number of cases decides it at this score" if needed is None else "cases from more documents decide"
    return f"about {needed} cases would decide at this score"


def _zero_tolerance_row(spec: ZeroToleranceGate, metric: Metric, sample: Sample) -> GateRow:
    row = _unmeasured(spec, "zero_tolerance", sample)
    violations = sum(metric.sign * (value - (1.0 if metric.sign > 0 else 0.0)) < 0 for value in sample.worst)
    needed = None if spec.max_rate is None else n_for_zero_failures(spec.max_rate, spec.alpha)
    row = replace(row, limit=spec.max_rate, n_needed=needed)
    if violations:
        upper = clopper_pearson_upper(violations, sample.n, spec.alpha)
        message = f"{violations} of {sample.n} cases violate it; none may"
        return replace(row, verdict=Verdict.FAIL, bound=upper, message=message)
    # The one score that is missing may be the leak, so no share of them is small enough here.
    if sample.missing:
        return replace(row, verdict=Verdict.ERROR, message=_missing_message(sample))
    if not sample.values:
        return row
    upper = zero_failures_upper(sample.n, spec.alpha)
    proven = spec.max_rate is None or upper <= spec.max_rate
    return replace(
        row,
        verdict=Verdict.PASS if proven else Verdict.INCONCLUSIVE,
        bound=upper,
        message=f"none in {sample.n} cases; the rate is below {upper:.3%} with {1 - spec.alpha:.0%} confidence"
        + ("" if proven else f"; {needed} clean cases would prove it"),
    )


def _paired_rows(
    specs: Sequence[GateSpec], candidate: RunReport, baseline: RunReport | None, options: GateOptions
) -> dict[NonRegressionGate, GateRow]:
    wanted = [spec for spec in specs if isinstance(spec, NonRegressionGate)]
    if baseline is not None:
        arms = {
            spec: (
                draw(candidate, options.metrics[spec.metric], spec.tags),
                draw(baseline, options.metrics[spec.metric], spec.tags),
            )
            for spec in wanted
        }
        return non_regression_rows(arms, options.metrics, seed=options.seed, permutations=options.permutations)
    rows: dict[NonRegressionGate, GateRow] = {}
    for spec in wanted:
        row = _unmeasured(spec, "non_regression", draw(candidate, options.metrics[spec.metric], spec.tags))
        rows[spec] = (
            replace(row, verdict=None, message="not applicable: first release")
            if options.first_release
            else replace(row, verdict=Verdict.ERROR, message="no baseline run; rerun the stable release")
        )
    return rows


def _warnings(
    rows: Sequence[GateRow],
    samples: Mapping[GateSpec, Sample],
    candidate: RunReport,
    baseline: RunReport | None,
    options: GateOptions,
) -> list[str]:
    lines: dict[str, None] = {}
    if baseline is not None:
        for name in differing(candidate.binding, baseline.binding):
            lines[f"{name}: candidate and baseline differ, as the release says"] = None
    said = " ".join(row.message for row in rows)
    for spec, sample in samples.items():
        metric = options.metrics[spec.metric]
        where = f"{metric.name}{' [' + ', '.join(spec.tags) + ']' if spec.tags else ''}"
        # A gate that is an ERROR for it says so in its row; once is enough.
        if sample.missing and _missing_message(sample) not in said:
            lines[f"{where}: {_missing_message(sample)}"] = None
        if baseline is not None:
            drop, relative = paired_drop(sample, draw(baseline, metric, spec.tags), metric)
            if relative > WARN_DROP:
                unit = f"{drop * 100:.1f} points" if metric.bounded else f"{relative:.1%}"
                lines[f"{where}: worse than the baseline by {unit}"] = None
    return list(lines)
