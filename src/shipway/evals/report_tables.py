"""Means with intervals, over all cases, by tag and by cluster, and which cases a report shows; JSON and HTML call this.

The intervals are two-sided at 95 %, each for itself: they say where to look. Gates decide, and pay for looking often.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shipway.core.errors import UsageError
from shipway.evals.bounds import bounds_of
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, CaseResult, Dataset, RunReport
from shipway.evals.report_source import OnDisk, ReportSource, positions
from shipway.evals.sample import Sample, draw_from, judged_cases
from shipway.evals.scores import ScoreTable

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
MOST_GROUPS = 200
"""So many tags, and so many clusters, are computed: intervals of ten thousand clusters take minutes."""
Grouping = Literal["tag", "cluster"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `n` cases with its interval, None where one cluster or case says nothing; `missing` counts scores."""

    mean: float | None
    lower: float | None
    upper: float | None
    n: int
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """The cases that share a tag or a cluster: how many, and the estimates of each metric in both runs."""

    label: str
    cases: int
    candidate: Mapping[str, Estimate]
    baseline: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one kind, and how many smaller ones are not among them."""

    rows: Sequence[Group]
    left_out: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Both runs as tables of scores, and the metrics that they hold; those of gates come first."""

    metrics: Mapping[str, Metric]
    candidate: ScoreTable
    baseline: ScoreTable | None


def scored(source: ReportSource) -> Scored:
    """Read the scores of both runs once."""
    gates = list(dict.fromkeys(row.metric for row in source.gates.rows if row.metric))
    found = _measured(source.run) | (_measured(source.baseline_run) if source.baseline_run else set())
    names = gates + sorted(found - set(gates))
    metrics = {name: metric_named(name) for name in names}

    def table(run: RunReport) -> ScoreTable:
        # Both by the rows of one dataset: equal digests do not mean equal order.
        return ScoreTable.of(source.run.dataset, run.results, run.repeats, names)

    before = source.baseline_run
    return Scored(metrics, table(source.run), None if before is None else table(before))


def _measured(run: RunReport) -> set[str]:
    """Return the metrics that have a score or failed to have one; most apply to nothing in most projects."""
    results = run.results.scores() if isinstance(run.results, OnDisk) else run.results
    found: set[str] = set()
    for result in results:
        found.update(result.errors)
        found.update(name for name, score in result.scores.items() if score is not None)
    return found


def metric_named(name: str) -> Metric:
    """Return the metric of a name; one that nobody knows here is a mean of which more is better."""
    try:
        return resolve_metrics([name], has_judge=True)[name]
    except UsageError:
        return Metric(name, _no_score, _always, "higher", "mean", "answer", bounded=False)


def overall(source: ReportSource, tables: Scored) -> Group:
    """Return the estimates over all judged cases."""
    everything = {"all": [case.id for case in source.run.dataset.cases if case.split != "calibration"]}
    return _groups(source.run, tables, everything, robust=True)[0]


def grouped(source: ReportSource, tables: Scored, by: Grouping) -> Groups:
    """Return the estimates of every tag, or of every cluster with two cases or more, the largest first.

    The cases of a cluster stand for that cluster alone, so that its interval takes them one by one.
    """
    members: dict[str, list[str]] = {}
    for case in source.run.dataset.cases:
        if case.split != "calibration":
            for label in case.tags if by == "tag" else (case.cluster_name,):
                members.setdefault(label, []).append(case.id)
    least = 1 if by == "tag" else 2
    kept = {label: ids for label, ids in members.items() if len(ids) >= least}
    ordered = dict(sorted(kept.items(), key=lambda item: (-len(item[1]), item[0])))
    largest = dict(list(ordered.items())[:MOST_GROUPS])
    return Groups(_groups(source.run, tables, largest, robust=by == "tag"), len(ordered) - len(largest))


def _groups(run: RunReport, tables: Scored, members: Mapping[str, Sequence[str]], *, robust: bool) -> list[Group]:
    columns = [
        {name: _Column.of(table, run.dataset, metric) for name, metric in tables.metrics.items()} if table else {}
        for table in (tables.candidate, tables.baseline)
    ]
    groups = []
    for label, ids in members.items():
        estimates = [
            {name: column.estimate(ids, robust=robust) for name, column in arm.items() if column.concerns(ids)}
            for arm in columns
        ]
        groups.append(Group(label, len(ids), estimates[0], estimates[1]))
    return groups


@dataclass(frozen=True, slots=True)
class _Column:
    """One metric in one run, by case."""

    metric: Metric
    sample: Sample
    position: Mapping[str, int]
    missing: Mapping[str, int]

    @classmethod
    def of(cls, table: ScoreTable, dataset: Dataset, metric: Metric) -> "_Column":
        sample = draw_from(table, dataset, metric)
        row = {case_id: place for place, case_id in enumerate(table.case_ids)}
        missing = table.missing[metric.name].sum(axis=1)
        return cls(
            metric,
            sample,
            {case.id: place for place, case in enumerate(sample.cases)},
            {case.id: int(missing[row[case.id]]) for case in judged_cases(dataset, metric, ())},
        )

    def concerns(self, ids: Iterable[str]) -> bool:
        return any(name in self.position or self.missing.get(name, 0) for name in ids)

    def estimate(self, ids: Iterable[str], *, robust: bool) -> Estimate:
        names = list(ids)
        lost = sum(self.missing.get(name, 0) for name in names)
        places = [self.position[name] for name in names if name in self.position]
        if not places:
            return Estimate(None, None, None, 0, lost)
        part = Sample(
            tuple(self.sample.cases[place] for place in places),
            tuple(self.sample.values[place] for place in places),
            tuple(self.sample.worst[place] for place in places),
            len(places),
            0,
            (),
        )
        if robust or self.metric.kind == "proportion":
            bounds = bounds_of(part, self.metric, _TAIL, cluster_robust=robust)
        else:
            bounds = bounds_of(_one_by_one(part), self.metric, _TAIL)
        return Estimate(bounds.value, _finite(bounds.lower), _finite(bounds.upper), len(places), lost)


def _one_by_one(sample: Sample) -> Sample:
    """Return the sample with each case as a cluster of its own."""
    alone = tuple(Case(id=case.id, question="") for case in sample.cases)
    return Sample(alone, sample.values, sample.worst, sample.expected, sample.missing, sample.reasons)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


Sign = Literal["worse", "better", "failed", "error"]


@dataclass(frozen=True, slots=True)
class ShownCase:
    """A case as a report shows it: both answers of one repeat, the scores of all, and why it is worth a look.

    `signs` name the metrics of gates by which it is worse or better than before, not at its best in some repeat
    (`failed`), or not scored (`error`). The repeat is the one that scored worst, or one that was not scored.
    """

    case: Case
    signs: Mapping[Sign, tuple[str, ...]]
    drop: float
    repeat: int
    candidate: CaseResult | None
    baseline: CaseResult | None
    means: Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True, slots=True)
class _Judged:
    case: Case
    signs: Mapping[Sign, tuple[str, ...]]
    drop: float
    repeat: int
    means: Mapping[str, tuple[float | None, float | None]]


def shown_cases(source: ReportSource, tables: Scored, most: int) -> list[ShownCase]:
    """Return up to `most` judged cases: the most worsened first, then what could not be scored, then what failed.

    Outputs are read for these alone.
    """
    watched = _watched(source, tables)
    rows = [
        _looked_at(case, row, tables, watched)
        for row, case in enumerate(source.run.dataset.cases)
        if case.split != "calibration"
    ]
    rows.sort(key=lambda item: (-item.drop, "error" not in item.signs, "failed" not in item.signs))
    kept = rows[:most]
    wanted = {(item.case.id, item.repeat) for item in kept}
    arms = [_results(run, wanted) for run in (source.run, source.baseline_run)]
    return [
        ShownCase(
            item.case,
            item.signs,
            item.drop,
            item.repeat,
            arms[0].get((item.case.id, item.repeat)),
            arms[1].get((item.case.id, item.repeat)),
            item.means,
        )
        for item in kept
    ]


def _watched(source: ReportSource, tables: Scored) -> list[Metric]:
    """Return the metrics that call a case better or worse: those of gates that judge what was said, not how fast."""
    judged = {row.metric for row in source.gates.rows}
    bounded = [metric for metric in tables.metrics.values() if metric.bounded and metric.source != "measurement"]
    return [metric for metric in bounded if metric.name in judged] or [
        metric for metric in bounded if metric.name in {"correct", "assertions"}
    ]


def _looked_at(case: Case, row: int, tables: Scored, watched: Sequence[Metric]) -> _Judged:
    before = tables.baseline
    means = {
        name: (_mean(tables.candidate, name, row), None if before is None else _mean(before, name, row))
        for name in tables.metrics
    }
    signs: dict[Sign, tuple[str, ...]] = {}
    drop, worst, unscored = 0.0, [math.inf] * tables.candidate.repeats, list[int]()
    for metric in watched:
        now, then = means[metric.name]
        change = metric.sign * (now - then) if now is not None and then is not None else 0.0
        drop = max(drop, -change)
        lost = tables.candidate.missing[metric.name][row] if metric.applies(case) else ()
        said: dict[Sign, bool] = {
            "worse": change < 0,
            "better": change > 0,
            "failed": now is not None and now != (1.0 if metric.sign > 0 else 0.0),
            "error": any(lost),
        }
        for sign in (sign for sign, holds in said.items() if holds):
            signs[sign] = (*signs.get(sign, ()), metric.name)
        for repeat, score in enumerate(tables.candidate.values[metric.name][row]):
            if math.isfinite(score):
                worst[repeat] = min(worst[repeat], metric.sign * float(score))
        unscored += [repeat for repeat, gone in enumerate(lost) if gone]
    # Where nothing is shown to be worse, the answer that could not be scored is the one to look at.
    repeat = min(unscored) if unscored and not drop else worst.index(min(worst))
    return _Judged(case, signs, drop, repeat, means)


def _mean(table: ScoreTable, metric: str, row: int) -> float | None:
    scores = table.values[metric][row]
    there = scores[np.isfinite(scores)]
    return float(there.mean()) if there.size else None


def _results(run: RunReport | None, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], CaseResult]:
    if run is None:
        return {}
    return {place: run.results[index] for place, index in positions(run.results).items() if place in wanted}


def _always(_case: Case) -> bool:
    return True


def _no_score(*_: object) -> None:
    return None
