"""Metrics over the repeats of one case: how steady its answers are, and how often all or any of k attempts succeed.

`metric_names` hands them out by name; `scoring.score_repeats` computes them when all repeats of a case are there, and
gives every repeat the score of its case, so that gates and tables treat them as any other metric.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

from shipway.core.errors import UsageError
from shipway.evals.metric_context import MetricContext
from shipway.evals.metrics import Metric
from shipway.evals.model import Case, CaseResult, Output
from shipway.evals.text import normalise
from shipway.stats.agents import pass_at_k, pass_hat_k

_TWO = 2


def determinism(_case: Case, results: Sequence[CaseResult]) -> float | None:
    """Score the share of repeats whose answer, normalised, is the most frequent one. Not applicable: one repeat."""
    if len(results) < _TWO:
        return None
    counts = Counter(normalise(result.output.answer) for result in results)
    return max(counts.values()) / len(results)


def over(inner: Metric, name: str, measure: Callable[[int, int], float], k: int) -> Metric:
    """Return the metric that estimates how often k attempts succeed; `measure` takes successes and attempts.

    An attempt succeeds where a `proportion` has its better score. Not applicable: fewer than k scores.

    Raises:
        UsageError: a metric whose scores are no successes.
    """
    if inner.kind != "proportion":
        raise UsageError(
            f"{name}: {inner.name} is a mean and not pass or fail; put a metric of scores 0 and 1 after the colon"
        )

    def compute(_case: Case, results: Sequence[CaseResult]) -> float | None:
        scores = _scores(results, inner.name)
        if len(scores) < k:
            return None
        successes = sum(score == (1.0 if inner.direction == "higher" else 0.0) for score in scores)
        return measure(successes, len(scores))

    return Metric(
        name, _elsewhere, inner.applies, "higher", "mean", inner.source, over_repeats=compute, needs=(inner.name,)
    )


def pass_hat(inner: Metric, k: int) -> Metric:
    """Return `pass^K:METRIC`: the probability that k attempts at a case all succeed."""
    return over(inner, f"pass^{k}:{inner.name}", lambda successes, n: pass_hat_k(successes, n, k), k)


def pass_at(inner: Metric, k: int) -> Metric:
    """Return `pass@K:METRIC`: the probability that any of k attempts at a case succeeds."""
    return over(inner, f"pass@{k}:{inner.name}", lambda successes, n: pass_at_k(successes, n, k), k)


def score_variance(inner: Metric) -> Metric:
    """Return `score_variance:METRIC`: the sample variance of a case's scores over its repeats, lower is better.

    Not applicable: fewer than two scores.
    """

    def compute(_case: Case, results: Sequence[CaseResult]) -> float | None:
        scores = _scores(results, inner.name)
        return statistics.variance(scores) if len(scores) >= _TWO else None

    return Metric(
        f"score_variance:{inner.name}",
        _elsewhere,
        inner.applies,
        "lower",
        "mean",
        inner.source,
        bounded=inner.bounded,
        over_repeats=compute,
        needs=(inner.name,),
    )


def _scores(results: Sequence[CaseResult], metric: str) -> list[float]:
    return [score for result in results if (score := result.scores[metric]) is not None]


def _elsewhere(_case: Case, _output: Output, _context: MetricContext) -> float | None:
    raise UsageError("is computed over all repeats of a case; call score_repeats")


def _always(_case: Case) -> bool:
    return True


DETERMINISM = Metric("determinism", _elsewhere, _always, "higher", "mean", "answer", over_repeats=determinism)
