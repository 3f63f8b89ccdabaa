"""The cases that a gate failed for where nothing was compared; terminal and Markdown reports show them.

With a baseline the cases that got worse say more: `report.worse_cases`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shipway.core.verdicts import Verdict
from shipway.evals.gate_report import GateReport, GateRow
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, Output, RunReport
from shipway.evals.report_source import positions
from shipway.evals.sample import score_table

_ALONE = frozenset({"threshold", "zero_tolerance"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that a gate's metric calls wrong, with the answer of the repeat that scored worst."""

    case: Case
    metric: str
    score: float
    output: Output


def failures(run: RunReport, report: GateReport, metrics: Mapping[str, Metric]) -> list[Failure]:
    """Return the cases that are wrong by the metric of the first threshold that failed, worst first."""
    failed = (row for row in report.rows if row.verdict is Verdict.FAIL and row.kind in _ALONE)
    row = next((row for row in failed if row.metric in metrics), None)
    if row is None:
        return []
    metric = metrics[row.metric]
    table, right = score_table(run, (metric.name,)), _right(metric, row)
    wrong = []
    for case, scores in zip(run.dataset.cases, table.values[metric.name], strict=True):
        if case.split == "calibration" or not np.isfinite(scores).any():
            continue
        mean = float(np.nanmean(scores))
        if metric.sign * (mean - right) < 0:
            wrong.append((case, mean, int(np.nanargmin(metric.sign * scores))))
    wrong.sort(key=lambda item: metric.sign * item[1])
    places = positions(run.results) if wrong else {}
    return [
        Failure(case, metric.name, mean, run.results[places[case.id, repeat]].output) for case, mean, repeat in wrong
    ]


def _right(metric: Metric, row: GateRow) -> float:
    """Return the score from which on a case is right: the best one there is, else the gate's limit."""
    if metric.bounded:
        return 1.0 if metric.sign > 0 else 0.0
    return row.limit if row.limit is not None else 0.0
