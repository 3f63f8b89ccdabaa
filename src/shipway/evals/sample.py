"""The scores a gate looks at: which cases, how many should be there, how many are missing.

`gates` draws one sample per gate and arm from a table of scores. Repeats are averaged within a case, because they are
not new cases.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from shipway.evals.metrics import Metric
from shipway.evals.model import Case, Dataset, RunReport
from shipway.evals.scores import ScoreTable

# Above this share the gate is an ERROR; below it the missing scores are left out, counted and warned about.
MAX_MISSING_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """Case means of one metric in one run.

    `cases` and `values` run in parallel; `worst` is the worst single repeat of each case and `scores` all of them,
    (n_cases, repeats) with NaN where there is none. `expected` counts the scores that should be there, per case and
    repeat; `reasons` say why `missing` of them are not.
    """

    cases: tuple[Case, ...]
    values: tuple[float, ...]
    worst: tuple[float, ...]
    expected: int
    missing: int
    reasons: tuple[str, ...]
    scores: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)), compare=False, hash=False)

    @property
    def n(self) -> int:
        """The number of cases with a score."""
        return len(self.values)

    @property
    def clusters(self) -> list[str]:
        """The cluster of each case, in the order of `values`."""
        return [case.cluster_name for case in self.cases]

    @property
    def too_many_missing(self) -> bool:
        """Whether what could not be measured might hide what was."""
        return self.missing > MAX_MISSING_SHARE * self.expected

    @property
    def mean(self) -> float | None:
        """The mean over cases; None without a case."""
        return statistics.fmean(self.values) if self.values else None


def judged_cases(dataset: Dataset, metric: Metric, tags: Sequence[str]) -> list[Case]:
    """Return the cases a gate judges: not those for calibration, with all the tags, to which the metric applies."""
    return [case for _, case in _judged(dataset, metric, tags)]


def score_table(run: RunReport, metrics: Sequence[str]) -> ScoreTable:
    """Read the scores of a run once, for all gates."""
    return ScoreTable.of(run.dataset, run.results, run.repeats, tuple(dict.fromkeys(metrics)))


def draw(run: RunReport, metric: Metric, tags: Sequence[str] = ()) -> Sample:
    """Collect a metric's scores from a run; a case or repeat without a result is missing, never skipped."""
    return draw_from(score_table(run, (metric.name,)), run.dataset, metric, tags)


def draw_from(table: ScoreTable, dataset: Dataset, metric: Metric, tags: Sequence[str] = ()) -> Sample:
    """Collect a metric's scores from the table of a run over the dataset; the rows are the dataset's cases."""
    judged = _judged(dataset, metric, tags)
    rows = np.fromiter((row for row, _ in judged), dtype=np.intp, count=len(judged))
    scores, missing = table.values[metric.name][rows], table.missing[metric.name][rows]
    there = np.isfinite(scores)
    counts = there.sum(axis=1)
    kept = counts > 0
    sums = np.where(there, scores, 0.0).sum(axis=1)
    worst = metric.sign * np.where(there, metric.sign * scores, np.inf).min(axis=1, initial=np.inf)
    reasons = tuple(
        f"{judged[place][1].id}: {table.reasons[metric.name][int(rows[place]), int(repeat)]}"
        for place, repeat in np.argwhere(missing)
    )
    return Sample(
        cases=tuple(case for (_, case), keep in zip(judged, kept, strict=True) if keep),
        values=tuple((sums[kept] / counts[kept]).tolist()),
        worst=tuple(worst[kept].tolist()),
        expected=int(counts.sum()) + len(reasons),
        missing=len(reasons),
        reasons=reasons,
        scores=scores[kept],
    )


def _judged(dataset: Dataset, metric: Metric, tags: Sequence[str]) -> list[tuple[int, Case]]:
    wanted = set(tags)
    return [
        (row, case)
        for row, case in enumerate(dataset.cases)
        if case.split != "calibration" and wanted <= set(case.tags) and metric.applies(case)
    ]
