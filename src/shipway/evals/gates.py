"""The offline gate: does the evidence allow this release? The evaluation service calls `evaluate_gates`.

The service passes the candidate's run and that of the baseline, both made now, interleaved. The verdict is PASS only
when every gate that applies is proven; scores that could not be measured never help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.evals.baseline import demand_comparable, differing
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.gate_spec import GateSpec, NonRegressionGate, ThresholdGate, ZeroToleranceGate
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Dataset, RunReport
from shipway.evals.model_update import cost_row
from shipway.evals.non_regression import Arms, Judging, non_regression_rows, paired_drop
from shipway.evals.power import check_family, check_power
from shipway.evals.quarantine import Quarantine, case_alarms
from shipway.evals.sample import Sample, draw_from, judged_cases, score_table
from shipway.evals.scores import ScoreTable
from shipway.evals.suggestions import did_you_mean
from shipway.evals.thresholds import missing_message, threshold_row, unmeasured_row, zero_tolerance_row
from shipway.stats.looks import spent

WARN_DROP = 0.02
"""A drop beyond 2 points (2 % of the baseline for metrics without a scale) is always reported."""
COST_METRIC = "cost_usd"


@dataclass(frozen=True, slots=True)
class GateOptions:
    """How to judge.

    Without a baseline, `first_release` lets thresholds decide alone; otherwise its absence is an ERROR.
    `expected_changes` names the digests that the release changes on purpose (`corpus`). `look` of `looks` shares each
    gate's alpha; `locked` holds what earlier looks decided, as `locked_rows` returns it. `judge_drift` says why the
    judge cannot be believed; empty when it can.
    """

    first_release: bool = False
    expected_changes: frozenset[str] = frozenset()
    seed: int = 0
    permutations: int = 10_000
    metrics: Mapping[str, Metric] = field(default_factory=lambda: METRICS)
    look: int = 1
    looks: int = 1
    locked: Mapping[str, GateRow] = field(default_factory=dict)
    judge_drift: str = ""
    quarantine: Quarantine = field(default_factory=Quarantine)


@dataclass(frozen=True, slots=True)
class LookPlan:
    """What was planned before the first call; `sampling` is false when repeats are copies of one another."""

    look: int
    looks: int
    extra_repeats: int
    sampling: bool = True


@dataclass(frozen=True, slots=True)
class Look:
    """The next look: its number, and the repeats that both runs get on top."""

    number: int
    repeats: int


def check_gates(
    specs: Sequence[GateSpec],
    dataset: Dataset,
    metrics: Mapping[str, Metric] = METRICS,
    *,
    looks: int = 1,
) -> None:
    """Refuse gates that make no sense, when they are written and again before they are evaluated.

    A dataset without cases says nothing about what it can see: then that is not looked at.

    Raises:
        UsageError: an unknown metric, a limit on the wrong side, a limit or delta that the dataset is too small to
            show, non-regression gates with different alphas.
    """
    check_family(specs)
    for spec in specs:
        if spec.metric not in metrics:
            raise UsageError(f"gate on unknown metric {spec.metric!r}; {did_you_mean(spec.metric, metrics)}")
        metric = metrics[spec.metric]
        match spec:
            case ThresholdGate():
                _check_threshold(spec, metric)
            case ZeroToleranceGate() if metric.kind != "proportion":
                raise UsageError(f"gate '{spec.label}': {metric.name} is a mean; give it a threshold instead")
            case _:
                pass
        if dataset.cases:
            check_power(spec, metric, judged_cases(dataset, metric, spec.tags), looks=looks)


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
    check_gates(specs, candidate.dataset, options.metrics, looks=options.looks)
    if baseline is not None:
        demand_comparable(candidate.binding, baseline.binding, expected=options.expected_changes)
    names = [*(spec.metric for spec in specs), *([COST_METRIC] if _asks_cost(specs, options.metrics) else [])]
    runs = (score_table(candidate, names), None if baseline is None else score_table(baseline, names))
    notes = [] if baseline is None else differing(candidate.binding, baseline.binding)
    report = judge_scores(specs, candidate.dataset, runs, options)
    said = [f"{name}: candidate and baseline differ, as the release says" for name in notes]
    return replace(report, warnings=(*said, *report.warnings))


def judge_scores(
    specs: Sequence[GateSpec],
    dataset: Dataset,
    runs: tuple[ScoreTable, ScoreTable | None],
    options: GateOptions,
) -> GateReport:
    """Judge the scores of a candidate and of a baseline, of which the second may be missing; `specs` are checked."""
    candidate, baseline = runs
    arms = _drawn(specs, dataset, runs, options)
    rows = _locked_first(_rows(arms, options), specs, options)
    warnings = _warnings(rows, arms, options)
    rows += _judge_rows(options)
    if baseline is not None and _asks_cost(specs, options.metrics):
        metric = options.metrics[COST_METRIC]
        costs = [draw_from(table, dataset, metric) for table in (candidate, baseline)]
        found = cost_row(costs[0], costs[1], metric, specs[0].alpha)
        rows += [found] if found is not None else []
    return GateReport(tuple(rows), tuple(warnings))


def gate_rows(
    specs: Sequence[GateSpec],
    dataset: Dataset,
    runs: tuple[ScoreTable, ScoreTable | None],
    options: GateOptions,
) -> list[GateRow]:
    """Return what the gates find in scores, without the warnings; simulations call this thousands of times."""
    return _locked_first(_rows(_drawn(specs, dataset, runs, options), options), specs, options)


def locked_rows(report: GateReport) -> dict[str, GateRow]:
    """Return what this look has decided for good, for `GateOptions.locked` of the next one."""
    return {
        _lock(place, row.gate): row
        for place, row in enumerate(report.rows)
        if row.verdict in (Verdict.PASS, Verdict.FAIL)
    }


def next_look(report: GateReport, plan: LookPlan) -> Look | None:
    """Return the next look, or None when all is decided, nothing is left to spend, or repeats cannot decide anything.

    A look that is not taken is spent all the same: what it could have cost was fixed before the first call.
    """
    verdicts = [row.verdict for row in report.rows]
    if plan.look >= plan.looks or not plan.sampling or Verdict.FAIL in verdicts or Verdict.ERROR in verdicts:
        return None
    helped = any(
        row.needed is not None and (row.needed.repeats is not None or row.needed.repeats_unknown)
        for row in report.rows
        if row.verdict is Verdict.INCONCLUSIVE
    )
    return Look(plan.look + 1, plan.extra_repeats) if helped else None


def _check_threshold(spec: ThresholdGate, metric: Metric) -> None:
    if (spec.min is None) == (spec.max is None):
        raise UsageError(f"gate on {metric.name}: set min or max, one of them")
    wanted = "min" if metric.direction == "higher" else "max"
    if getattr(spec, wanted) is None:
        raise UsageError(f"gate '{spec.label}': {metric.direction} is better for {metric.name}; use {wanted}")
    if metric.bounded and not 0.0 <= spec.limit <= 1.0:
        raise UsageError(f"gate '{spec.label}': {metric.name} lies between 0 and 1; the limit {spec.limit:g} does not")
    if metric.source == "measurement" and spec.limit < 0.0:
        raise UsageError(f"gate '{spec.label}': {metric.name} is never below 0, so no answer meets {spec.limit:g}")
    if spec.quantile is not None and metric.kind == "proportion":
        raise UsageError(f"gate '{spec.label}': {metric.name} is a share, which has no quantile; remove it")


_Arms = Sequence[tuple[GateSpec, Sample, Sample | None]]


def _drawn(
    specs: Sequence[GateSpec], dataset: Dataset, runs: tuple[ScoreTable, ScoreTable | None], options: GateOptions
) -> _Arms:
    candidate, baseline = runs
    found = []
    for spec in specs:
        metric = options.metrics[spec.metric]
        before = None if baseline is None else draw_from(baseline, dataset, metric, spec.tags)
        found.append((spec, draw_from(candidate, dataset, metric, spec.tags), before))
    return found


def _rows(arms: _Arms, options: GateOptions) -> list[GateRow]:
    paired = iter(_paired_rows(arms, options))
    rows: list[GateRow] = []
    for spec, sample, _ in arms:
        metric, level = options.metrics[spec.metric], spent(spec.alpha, options.looks)[0]
        match spec:
            case ThresholdGate():
                rows.append(threshold_row(spec, metric, sample, level))
            case ZeroToleranceGate():
                rows.append(zero_tolerance_row(spec, metric, sample, level))
            case NonRegressionGate():
                rows.append(next(paired))
    return rows


def _paired_rows(arms: _Arms, options: GateOptions) -> list[GateRow]:
    wanted = [(spec, sample, before) for spec, sample, before in arms if isinstance(spec, NonRegressionGate)]
    compared = [
        Arms(spec, options.metrics[spec.metric], sample, before)
        for spec, sample, before in wanted
        if before is not None
    ]
    if len(compared) == len(wanted):
        return non_regression_rows(compared, Judging(options.seed, options.permutations, options.looks))
    return [
        replace(unmeasured_row(spec, "non_regression", sample), verdict=None, message="not applicable: first release")
        if options.first_release
        else replace(
            unmeasured_row(spec, "non_regression", sample),
            verdict=Verdict.ERROR,
            message="no baseline run; evaluate again with one: `shipway eval run REL --baseline REL`",
        )
        for spec, sample, _ in wanted
    ]


def _locked_first(rows: Sequence[GateRow], specs: Sequence[GateSpec], options: GateOptions) -> list[GateRow]:
    """Put what earlier looks decided in the place of what this one finds; the others are of this look."""
    return [
        options.locked.get(
            _lock(place, row.gate), replace(row, look=options.look, looks=options.looks, reason=spec.reason)
        )
        for place, (row, spec) in enumerate(zip(rows, specs, strict=True))
    ]


def _lock(place: int, gate: str) -> str:
    # Two gates may have the same words.
    return f"{place} {gate}"


def _judge_rows(options: GateOptions) -> list[GateRow]:
    if not options.judge_drift:
        return []
    return [GateRow("the judge judges as before", "", "judge", Verdict.ERROR, options.judge_drift)]


def _asks_cost(specs: Sequence[GateSpec], metrics: Mapping[str, Metric]) -> bool:
    return COST_METRIC in metrics and any(isinstance(spec, NonRegressionGate) and spec.model_update for spec in specs)


def _warnings(rows: Sequence[GateRow], arms: _Arms, options: GateOptions) -> list[str]:
    lines: dict[str, None] = {}
    said = " ".join(row.message for row in rows)
    for spec, sample, before in arms:
        metric = options.metrics[spec.metric]
        where = f"{metric.name}{' [' + ', '.join(spec.tags) + ']' if spec.tags else ''}"
        # A gate that is an ERROR for it says so in its row; once is enough.
        if sample.missing and missing_message(sample) not in said:
            lines[f"{where}: {missing_message(sample)}"] = None
        if before is None:
            continue
        drop, relative = paired_drop(sample, before, metric)
        if relative > WARN_DROP:
            unit = f"{drop * 100:.1f} points" if metric.bounded else f"{relative:.1%}"
            lines[f"{where}: worse than the baseline by {unit}"] = None
        quarantined = options.quarantine.cases
        lines.update(dict.fromkeys(case_alarms(sample, before, metric, alpha=spec.alpha, quarantined=quarantined)))
    return list(lines)
