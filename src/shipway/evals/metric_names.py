"""From a metric's name, as gates and settings write it, to the metric; evaluation and gates resolve names here.

- the names of `METRICS`, and `context_recall`
- `recall_at_K`, `precision_at_K`, `ndcg_at_K`, `hit_at_K`
- `faithfulness`, `hallucination`, `answer_relevance`, `completeness`, `citation_support`, `judged_abstention` and
  `judge:NAME`, which need a judge
- `determinism`, `pass^K:METRIC`, `pass@K:METRIC` and `score_variance:METRIC`, over the repeats of a case
- `assert:NAME`, the entries of `assert` with that `metric`; `python:package.module:function`
- metrics of other tools, such as `promptfoo.pass`, where the caller has them
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shipway.core.errors import UsageError
from shipway.evals.assertions import assertions_of, flat, parse_assertions, share_held
from shipway.evals.generation import CONTEXT_RECALL, JUDGED, RUBRIC
from shipway.evals.judgement import Task
from shipway.evals.metric_context import MetricContext
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Case, Output
from shipway.evals.repeats import DETERMINISM, pass_at, pass_hat, score_variance
from shipway.evals.suggestions import did_you_mean
from shipway.stats import retrieval

MOST_RANKS = 1_000
MOST_ATTEMPTS = 100
_RANKED: Mapping[str, Callable[[Sequence[str], Collection[str], int], float]] = {
    "recall": retrieval.recall_at_k,
    "precision": retrieval.precision_at_k,
    "ndcg": retrieval.ndcg_at_k,
    "hit": retrieval.hit_at_k,
}
_AT_RANK = re.compile(r"(\w+)_at_([1-9]\d{0,3})", re.ASCII)
_ATTEMPTS = re.compile(r"pass([\^@])([1-9]\d{0,2}):(.+)", re.ASCII)
_VARIANCE = "score_variance:"
_JUDGE = "judge:"
_ASSERT = "assert:"
_PYTHON = "python:"
_NAMED: Mapping[str, Metric] = {**METRICS, CONTEXT_RECALL.name: CONTEXT_RECALL, DETERMINISM.name: DETERMINISM}
PATTERNS = ("recall_at_K", "precision_at_K", "ndcg_at_K", "hit_at_K", "pass^K:METRIC", "pass@K:METRIC")
"""Forms that stand for many names, for messages and editors."""


@dataclass(frozen=True, slots=True)
class _Known:
    has_judge: bool
    judge: str
    repeats: int | None
    foreign: Mapping[str, Metric]


def resolve_metrics(
    names: Iterable[str],
    *,
    has_judge: bool = False,
    judge: str = "",
    repeats: int | None = None,
    foreign: Mapping[str, Metric] | None = None,
) -> dict[str, Metric]:
    """Return the metrics of names, each after those that it needs.

    `judge` is the name of the run's judge where `judge:NAME` must be it. `repeats` is how often each case is answered,
    None when that is not decided yet. `foreign` are metrics of other tools, by name.

    Raises:
        UsageError: one line for every name that stands for nothing, or for what the run does not have.
    """
    known = _Known(has_judge, judge, repeats, foreign or {})
    found: dict[str, Metric] = {}
    problems: list[str] = []
    for name in names:
        try:
            metric = _resolved(name, known)
        except UsageError as error:
            problems.append(error.message)
            continue
        for needed in metric.needs:
            found.setdefault(needed, _resolved(needed, known))
        found[name] = metric
    if problems:
        raise UsageError("\n".join(problems))
    return found


def tasks_needed(metrics: Mapping[str, Metric], cases: Iterable[Case] = ()) -> frozenset[Task]:
    """Return what a judge must be asked so that the metrics, and the rubrics of cases, can be judged."""
    tasks: set[Task] = {metric.task for metric in metrics.values() if metric.task is not None}
    if any(item.type == "llm-rubric" for case in cases for item in flat(parse_assertions(case.assertions))):
        tasks.add("rubric")
    return frozenset(tasks)


def functions_needed(names: Iterable[str]) -> tuple[str, ...]:
    """Return the paths of the functions behind `python:` metrics; `assertions.import_function` loads them."""
    return tuple(dict.fromkeys(name.removeprefix(_PYTHON) for name in names if name.startswith(_PYTHON)))


def _resolved(name: str, known: _Known) -> Metric:
    metric = known.foreign.get(name) or _NAMED.get(name) or _at_rank(name) or _judged(name)
    metric = metric or _parametrised(name, known)
    if metric is None:
        raise UsageError(f"unknown metric {name!r}; {_suggestion(name, known)}")
    if metric.task is not None:
        _demand_judge(name, known)
    return metric


def _judged(name: str) -> Metric | None:
    if name in JUDGED:
        return JUDGED[name]
    return replace(RUBRIC, name=name) if name.startswith(_JUDGE) and name != _JUDGE else None


def _at_rank(name: str) -> Metric | None:
    found = _AT_RANK.fullmatch(name)
    if found is None or found[1] not in _RANKED or (k := int(found[2])) > MOST_RANKS:
        return None
    measure = _RANKED[found[1]]

    def compute(case: Case, output: Output, _context: MetricContext) -> float | None:
        return measure(output.retrieved, case.expected_sources, k) if case.expected_sources else None

    ranked = replace(METRICS["recall_at_5"], name=name, compute=compute)
    return replace(ranked, kind="proportion") if found[1] == "hit" else ranked


def _parametrised(name: str, known: _Known) -> Metric | None:
    if name.startswith(_VARIANCE):
        return score_variance(_single(name.removeprefix(_VARIANCE), name, known))
    if name.startswith(_ASSERT) and name != _ASSERT:
        return _assertions_named(name)
    if name.startswith(_PYTHON) and name != _PYTHON:
        return _function(name)
    found = _ATTEMPTS.fullmatch(name)
    if found is None:
        return None
    k = int(found[2])
    if k > MOST_ATTEMPTS:
        raise UsageError(f"{name}: at most {MOST_ATTEMPTS} attempts, got {k}")
    if known.repeats is not None and known.repeats < k:
        raise UsageError(f"{name}: needs {k} repeats of each case and gets {known.repeats}; set evals.repeats: {k}")
    return (pass_hat if found[1] == "^" else pass_at)(_single(found[3], name, known), k)


def _single(inner: str, name: str, known: _Known) -> Metric:
    try:
        metric = _resolved(inner, known)
    except UsageError as error:
        raise UsageError(f"{name}: {error.message}") from error
    if metric.over_repeats is not None:
        raise UsageError(f"{name}: {inner} is over repeats itself; name a metric of single answers")
    return metric


def _assertions_named(name: str) -> Metric:
    label = name.removeprefix(_ASSERT)

    def applies(case: Case) -> bool:
        return any(entry.get("metric") == label for entry in case.assertions)

    def compute(case: Case, output: Output, context: MetricContext) -> float | None:
        named = [assertion for assertion in assertions_of(case, context) if assertion.metric == label]
        return share_held(named, case, output, context) if named else None

    return replace(METRICS["assertion_score"], name=name, compute=compute, applies=applies)


def _function(name: str) -> Metric:
    path = name.removeprefix(_PYTHON)

    def compute(case: Case, output: Output, context: MetricContext) -> float | None:
        if path not in context.functions:
            raise UsageError(f"function {path!r} was not loaded")
        score = context.functions[path](case, output)
        if score is None:
            return None
        if not isinstance(score, (bool, int, float)) or not 0 <= score <= 1:
            raise UsageError(f"function {path!r} returned {score!r}; return a number from 0 to 1, or None")
        return float(score)

    return Metric(name, compute, _always, "higher", "mean", "answer")


def _demand_judge(name: str, known: _Known) -> None:
    if not known.has_judge:
        raise UsageError(f"metric {name!r} needs evals.judge; name an entry of judges there")
    if known.judge and name.startswith(_JUDGE) and name != _JUDGE + known.judge:
        raise UsageError(f"metric {name!r} is not by the run's judge; write {_JUDGE + known.judge!r}")


def _suggestion(name: str, known: _Known) -> str:
    suggestion = did_you_mean(name, {*_NAMED, *JUDGED, *known.foreign})
    return suggestion if suggestion.startswith("did") else f"{suggestion}, {', '.join(PATTERNS)}"


def _always(_case: Case) -> bool:
    return True
