"""From outputs to scores; the evaluation service calls this after `runner`."""

import math
from collections.abc import Iterable, Mapping

from shipway.core.errors import UsageError
from shipway.evals.metrics import METRICS, Metric, MetricContext
from shipway.evals.model import Attempt, Case, CaseResult, Dataset


def score_attempts(
    attempts: Iterable[Attempt],
    dataset: Dataset,
    context: MetricContext,
    metrics: Mapping[str, Metric] = METRICS,
) -> tuple[CaseResult, ...]:
    """Score every attempt with every metric.

    Raises:
        UsageError: an attempt at a case that the dataset does not hold.
    """
    cases = {case.id: case for case in dataset.cases}
    results: list[CaseResult] = []
    for attempt in attempts:
        if attempt.case_id not in cases:
            raise UsageError(f"attempt at case {attempt.case_id!r}, which dataset {dataset.name!r} does not hold")
        results.append(score_attempt(attempt, cases[attempt.case_id], context, metrics))
    return tuple(results)


def score_attempt(attempt: Attempt, case: Case, context: MetricContext, metrics: Mapping[str, Metric]) -> CaseResult:
    """Score one attempt; what cannot be computed is an error with its reason, never a number."""
    scores: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    for name, metric in metrics.items():
        if not metric.applies(case):
            scores[name] = None
        elif attempt.output.error is not None:
            errors[name] = attempt.output.error
        else:
            try:
                scores[name] = _finite(metric.compute(case, attempt.output, context))
            # A metric may run a user's function: its failure is one missing score, not the end of the run.
            except Exception as error:  # noqa: BLE001
                errors[name] = f"{type(error).__name__}: {error}"
    return CaseResult(attempt.case_id, attempt.repeat, scores, errors, attempt.output)


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise UsageError(f"the score is {value}, which is not a number to average")
    return value
