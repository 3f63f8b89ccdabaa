"""How the pytest plugin scores answers, and what it concludes from them for one case and for a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.core.verdicts import Verdict
from shipway.evals.assertions import LoadedAssertions, import_function, load_assertions
from shipway.evals.baseline import NO_JUDGE, bind
from shipway.evals.calibration import judge_digest
from shipway.evals.gate_report import GateReport
from shipway.evals.gate_spec import GateSpec, parse_gates
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.judging import judge_attempts
from shipway.evals.metric_context import MetricContext
from shipway.evals.metric_names import functions_needed, tasks_needed
from shipway.evals.metrics import Metric
from shipway.evals.model import Attempt, Case, CaseResult, Dataset, Output, RunReport
from shipway.evals.ports import Judge, Target
from shipway.evals.report import excerpt, expectation, gate_lines
from shipway.evals.scoring import score_attempt, score_repeats

NOT_APPLICABLE = "NOT_APPLICABLE"
_SLACK = 1e-9
_SHOWN_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class Scoring:
    """What answers to a dataset are scored by."""

    dataset: Dataset
    metrics: Mapping[str, Metric]
    loaded: LoadedAssertions
    judge: Judge | None

    @property
    def judge_digest(self) -> Digest:
        """Return what runs are bound to."""
        return NO_JUDGE if self.judge is None else judge_digest(self.judge.identity)


async def load_scoring(dataset: Dataset, metrics: Mapping[str, Metric], root: Path, judge: Judge | None) -> Scoring:
    """Load what assertions need.

    Raises:
        UsageError: a function that cannot be imported, a file that is no schema.
    """
    return Scoring(dataset, metrics, await load_assertions(dataset, root), judge)


async def scored(scoring: Scoring, attempts: Sequence[Attempt]) -> list[CaseResult]:
    """Score attempts, after the judge has been asked where a metric needs it."""
    dataset, metrics = scoring.dataset, scoring.metrics
    judged = None
    if scoring.judge is not None:
        judged = await judge_attempts(attempts, dataset, scoring.judge, tasks_needed(metrics, dataset.cases))
    functions = {path: import_function(path) for path in functions_needed(metrics)}
    context = MetricContext(assertions=scoring.loaded.by_case, functions={**scoring.loaded.functions, **functions})
    cases = {case.id: case for case in dataset.cases}
    by_case: dict[str, list[CaseResult]] = {}
    for attempt in attempts:
        own = context
        if judged is not None:
            found, missing = judged.context_for(attempt.case_id, attempt.repeat)
            own = replace(context, judgements=found, missing_judgements=missing)
        result = score_attempt(attempt, cases[attempt.case_id], own, metrics)
        by_case.setdefault(attempt.case_id, []).append(result)
    return [result for name, results in by_case.items() for result in score_repeats(cases[name], results, metrics)]


def verdict_on(
    case: Case, results: Sequence[CaseResult], limits: Mapping[str, float | None], metrics: Mapping[str, Metric]
) -> tuple[str, str]:
    """Return what the repeats of one case show: PASS, FAIL, INCONCLUSIVE, ERROR or NOT_APPLICABLE, and why."""
    lines: list[tuple[str, str]] = []
    for name, limit in limits.items():
        lines.append(_on_metric(results, metrics[name], _limit(metrics[name], limit)))
    for verdict in (Verdict.ERROR.value, Verdict.FAIL.value, Verdict.INCONCLUSIVE.value):
        if any(found == verdict for found, _ in lines):
            said = "; ".join(text for found, text in lines if found == verdict)
            return verdict, "\n".join([f"{case.id}: {said}", *_evidence(case, [item.output for item in results])])
    if all(found == NOT_APPLICABLE for found, _ in lines):
        return NOT_APPLICABLE, f"{case.id}: {'; '.join(text for _, text in lines)}"
    return Verdict.PASS.value, ""


def dataset_report(
    targets: Sequence[Target],
    results: Sequence[Sequence[CaseResult]],
    scoring: Scoring,
    repeats: int,
    wanted: Mapping[str, object],
) -> tuple[GateReport, str, str]:
    """Judge one gate on the run of a target, and of a baseline where there are two; return report, verdict, lines.

    Raises:
        UsageError: the gate makes no sense, or can never decide.
    """
    binding = bind(scoring.dataset, corpus=NO_JUDGE, judge=scoring.judge_digest, schemas=scoring.loaded.digest)
    runs = [
        RunReport(target.name, target.digest, scoring.dataset, repeats, tuple(found), binding)
        for target, found in zip(targets, results, strict=True)
    ]
    options = GateOptions(metrics=scoring.metrics)
    report = evaluate_gates(gate_of(wanted), runs[0], runs[1] if len(runs) > 1 else None, options)
    return report, report.verdict.value, "\n".join(gate_lines(report))


def gate_of(wanted: Mapping[str, object]) -> list[GateSpec]:
    """Return the gate that a test asks for.

    Raises:
        UsageError: it makes no sense.
    """
    return parse_gates([dict(wanted)])


def _limit(metric: Metric, limit: float | None) -> float:
    if limit is not None:
        return limit
    if metric.kind != "proportion":
        raise UsageError(
            f"metric {metric.name} is not 0 or 1, so say from where on it is right",
            hint=f'metrics={{"{metric.name}": 0.8}}',
        )
    return 1.0 if metric.sign > 0 else 0.0


def _on_metric(results: Sequence[CaseResult], metric: Metric, limit: float) -> tuple[str, str]:
    missing = [result.errors[metric.name] for result in results if metric.name in result.errors]
    if missing:
        return Verdict.ERROR.value, f"{metric.name} is missing for {len(missing)} of {len(results)}: {missing[0]}"
    scores = [score for result in results if (score := result.scores.get(metric.name)) is not None]
    if not scores:
        return NOT_APPLICABLE, f"{metric.name} does not apply"
    right = sum(metric.sign * (score - limit) >= -_SLACK for score in scores)
    needs = f"{'at least' if metric.sign > 0 else 'at most'} {limit:g}"
    shown = ", ".join(f"{score:.3g}" for score in scores)
    text = f"{metric.name} is right in {right} of {len(scores)} answers (needs {needs}, got {shown})"
    if right == len(scores):
        return Verdict.PASS.value, text
    return (Verdict.INCONCLUSIVE.value if right else Verdict.FAIL.value), text


def _evidence(case: Case, outputs: Sequence[Output]) -> list[str]:
    lines = [f"  question: {excerpt(case.question)}", f"  expected: {excerpt(expectation(case))}"]
    answers = list(dict.fromkeys(excerpt(output.answer) or "(empty)" for output in outputs))
    lines += [f"  answer: {answer}" for answer in answers[:_SHOWN_ANSWERS]]
    return lines + ([f"  and {len(answers) - _SHOWN_ANSWERS} other answers"] if len(answers) > _SHOWN_ANSWERS else [])
