"""The scores a gate looks at: which cases, how many should be there, how many are missing.

`gates` draws one sample per gate and arm. Repeats are averaged within a case, because they are not new cases.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from shipway.evals.metrics import Metric
from shipway.evals.model import Case, CaseResult, Dataset, RunReport

# Above this share the gate is an ERROR; below it the missing scores are left out, counted and warned about.
MAX_MISSING_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """Case means of one metric in one run.

    `cases` and `values` run in parallel; `worst` is the worst single repeat of each case. `expected` counts the scores
    that should be there, per case and repeat; `reasons` say why `missing` of them are not.
    """

    cases: tuple[Case, ...]
    values: tuple[float, ...]
    worst: tuple[float, ...]
    expected: int
    missing: int
    reasons: tuple[str, ...]

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
    wanted = set(tags)
    return [
        case
        for case in dataset.cases
        if case.split != "calibration" and wanted <= set(case.tags) and metric.applies(case)
    ]


def draw(run: RunReport, metric: Metric, tags: Sequence[str] = ()) -> Sample:
    """Collect a metric's scores from a run; a case or repeat without a result is missing, never skipped."""
    results = {(result.case_id, result.repeat): result for result in run.results}
    cases: list[Case] = []
    values: list[float] = []
    worst: list[float] = []
    expected = 0
    reasons: list[str] = []
    for case in judged_cases(run.dataset, metric, tags):
        scores: list[float] = []
        for repeat in range(run.repeats):
            result = results.get((case.id, repeat))
            reason = _why_missing(result, metric.name)
            if reason:
                reasons.append(f"{case.id}: {reason}")
            elif result is not None and (score := result.scores[metric.name]) is not None:
                scores.append(score)
            else:
                continue
            expected += 1
        if scores:
            cases.append(case)
            values.append(statistics.fmean(scores))
            worst.append(min(scores, key=lambda score: metric.sign * score))
    return Sample(tuple(cases), tuple(values), tuple(worst), expected, len(reasons), tuple(reasons))


def _why_missing(result: CaseResult | None, metric: str) -> str:
    if result is None:
        return "was not run"
    if metric in result.errors:
        return result.errors[metric] or "failed without a message"
    return "" if metric in result.scores else f"was not scored for {metric}"
