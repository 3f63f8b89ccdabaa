"""From outputs to scores; the evaluation service calls this after `runner`.

`score_attempts` does all of it for attempts that are in memory. Who keeps them on disk calls `score_attempt` for each
and, where a metric goes over repeats, `score_repeats` for each case when its repeats are there.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from shipway.config.credentials import repeatable
from shipway.core.errors import ShipwayError, UsageError
from shipway.evals.assertions import Assertion, parse_assertions
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
    if not context.assertions:
        context = replace(context, assertions=_parsed(dataset.cases))
    results: list[CaseResult] = []
    for attempt in attempts:
        if attempt.case_id not in cases:
            raise UsageError(f"attempt at case {attempt.case_id!r}, which dataset {dataset.name!r} does not hold")
        results.append(score_attempt(attempt, cases[attempt.case_id], context, metrics))
    return tuple(_with_repeats(results, cases, metrics))


def score_attempt(attempt: Attempt, case: Case, context: MetricContext, metrics: Mapping[str, Metric]) -> CaseResult:
    """Score one attempt; what cannot be computed is an error with its reason, never a number."""
    scores: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    if case.id in context.assertions:
        # Several metrics look at the same assertions, and a user's function is to be called once.
        context = replace(context, held={})
    for name, metric in metrics.items():
        if not metric.applies(case):
            scores[name] = None
        elif attempt.output.error is not None:
            errors[name] = attempt.output.error
        elif metric.over_repeats is None:
            _compute(name, lambda: metric.compute(case, attempt.output, context), scores, errors)  # noqa: B023
    return CaseResult(attempt.case_id, attempt.repeat, scores, errors, attempt.output)


def score_repeats(case: Case, results: Sequence[CaseResult], metrics: Mapping[str, Metric]) -> list[CaseResult]:
    """Add to all results of a case what its metrics over repeats say; each of them gets the case's score.

    A case of which one repeat lacks what such a metric reads has no score: that repeat might be the one that differs.
    """
    scores: dict[str, float | None] = {}
    errors: dict[str, str] = {}
    for name, metric in metrics.items():
        over = metric.over_repeats
        if over is None or not metric.applies(case):
            continue
        missing = _missing(results, metric)
        if missing:
            errors[name] = missing
        else:
            _compute(name, lambda: over(case, results), scores, errors)  # noqa: B023
    return [
        replace(result, scores={**result.scores, **scores}, errors={**result.errors, **errors}) for result in results
    ]


def _with_repeats(
    results: Sequence[CaseResult], cases: Mapping[str, Case], metrics: Mapping[str, Metric]
) -> Iterable[CaseResult]:
    if all(metric.over_repeats is None for metric in metrics.values()):
        return results
    by_case: dict[str, list[CaseResult]] = {}
    for result in results:
        by_case.setdefault(result.case_id, []).append(result)
    done = {name: iter(score_repeats(cases[name], found, metrics)) for name, found in by_case.items()}
    return [next(done[result.case_id]) for result in results]


def _missing(results: Sequence[CaseResult], metric: Metric) -> str:
    for result in results:
        if result.output.error is not None:
            return f"repeat {result.repeat}: {result.output.error}"
        for needed in metric.needs:
            if needed not in result.scores:
                return f"repeat {result.repeat}: {needed}: {result.errors.get(needed) or 'was not scored'}"
    return ""


def _compute(
    name: str, compute: Callable[[], float | None], scores: dict[str, float | None], errors: dict[str, str]
) -> None:
    try:
        scores[name] = _finite(compute())
    except ShipwayError as error:
        errors[name] = error.message
    # A metric may run a user's function: its failure is one missing score, not the end of the run.
    except Exception as error:  # noqa: BLE001
        errors[name] = f"{type(error).__name__}: {repeatable(str(error))}"


def _parsed(cases: Iterable[Case]) -> dict[str, tuple[Assertion, ...]]:
    """Parse what can be parsed; an entry that cannot costs the score of its own case, where it is read again."""
    parsed: dict[str, tuple[Assertion, ...]] = {}
    for case in cases:
        if not case.assertions:
            continue
        try:
            parsed[case.id] = tuple(parse_assertions(case.assertions))
        except UsageError:
            continue
    return parsed


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise UsageError(f"the score is {value}, which is not a number to average")
    return value
