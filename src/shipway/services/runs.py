"""Runs without a gate: asking several targets the same cases, and comparing two stored runs case by case."""

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

from shipway.core.errors import GateRefusedError
from shipway.core.ids import Digest
from shipway.core.verdicts import Verdict
from shipway.evals.baseline import NO_JUDGE, bind
from shipway.evals.budget import Meter
from shipway.evals.metric_context import MetricContext
from shipway.evals.metrics import Metric
from shipway.evals.model import Dataset, RunReport
from shipway.evals.ports import Judge, ResponseCache, Similarity, Target
from shipway.evals.run_directory import RunDirectory
from shipway.evals.run_plan import RunFile
from shipway.evals.runner import Around, Progress, RunPlan, run
from shipway.services.application import Application
from shipway.services.cached_target import CachedTarget
from shipway.services.evaluation_plan import binding_body
from shipway.services.evaluation_scoring import Answers, Opinions, scored
from shipway.services.judges.purse import JudgePurse, judge_spent
from shipway.services.releases import verified_blob


@dataclass(frozen=True, slots=True)
class TargetsRequest:
    """Targets by name, and what they are asked.

    `context_of` gives what metrics need beside the answers of a target. A run that `directory` holds already is gone on
    with: what was answered is not asked again. `corpus_of` names what a target answers from. Repeats of a case never
    share an answer of `cache`.
    """

    targets: Mapping[str, Target]
    dataset: Dataset
    repeats: int
    concurrency: int
    metrics: Mapping[str, Metric]
    context_of: Callable[[str], MetricContext]
    judge: Judge | None
    meter: Meter | None
    directory: Path
    judge_digest: Digest = NO_JUDGE
    similarity: Similarity | None = None
    purse: JudgePurse | None = None
    corpus_of: Callable[[str], Digest] = lambda _target: NO_JUDGE
    cache: ResponseCache | None = None
    progress: Callable[[Progress], None] | None = field(default=None, hash=False)
    seed: int = 0


async def run_targets(app: Application, request: TargetsRequest) -> dict[str, RunReport]:
    """Ask all targets the same cases, interleaved, and score the answers, which stay in the run directory.

    Raises:
        UsageError: nothing to run, or the folder holds a run of another plan.
        UnavailableError: the first calls of a target all found nobody there.
        GateRefusedError: with verdict ERROR, where the meter ended the run.
    """
    settings, dataset = app.project.evals, request.dataset
    opinions = Opinions(request.judge, request.judge_digest, request.similarity, purse=request.purse)
    bindings = {
        name: bind(dataset, corpus=request.corpus_of(name), judge=request.judge_digest, schemas=opinions.schemas(None))
        for name in request.targets
    }
    identity = {
        "targets": {name: {"digest": target.digest, "kind": "target"} for name, target in request.targets.items()},
        "dataset": {"name": dataset.name, "digest": dataset.digest, "cases": len(dataset.cases)},
        "binding": {name: binding_body(binding) for name, binding in bindings.items()},
        "repeats": request.repeats,
        "order": "interleaved",
        "seed": request.seed,
        "settings": {},
    }
    file = RunFile(request.directory.name, identity)
    plan = RunPlan(
        repeats=request.repeats,
        concurrency=request.concurrency,
        timeout_s=settings.case_timeout_s,
        seed=request.seed,
        retries=settings.retries,
        max_concurrency=settings.max_concurrency,
    )
    directory = await anyio.to_thread.run_sync(RunDirectory.begin, request.directory, file, dataset.cases)
    try:
        if request.meter is not None:
            request.meter.add(directory.spent(), judge_spent(directory.path))
        if request.purse is not None:
            request.purse.keep_in(directory.path)
        around = Around(app.clock, request.meter, request.progress)
        outcome = await run(_asked(request), dataset.cases, plan, directory, around)
        answered = outcome.asked + outcome.reused
        if outcome.stopped:
            raise _over_budget(request, answered)
        reports = {}
        for name, target in request.targets.items():
            answers = Answers(directory, name, dataset, request.repeats)
            results = await scored(answers, request.metrics, opinions, request.context_of(name))
            if opinions.is_over_budget:
                raise _over_budget(request, answered)
            reports[name] = RunReport(name, target.digest, dataset, request.repeats, results, bindings[name])
    finally:
        directory.close()
        directory.remove_if_unanswered()
    return reports


def _over_budget(request: TargetsRequest, answered: int) -> GateRefusedError:
    return GateRefusedError(
        Verdict.ERROR,
        f"verdict ERROR: the budget is used up after {answered} answers",
        hint=f"they are kept in {request.directory}; go on with a larger budget",
    )


def _asked(request: TargetsRequest) -> dict[str, Target]:
    cache = request.cache
    if cache is None:
        return dict(request.targets)
    return {name: CachedTarget(target, cache) for name, target in request.targets.items()}


async def compared_runs(app: Application, first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return means over the cases that both runs scored, and the cases whose `correct` score changed."""
    before, after = await _scores(app, first), await _scores(app, second)
    metrics: dict[str, Any] = {}
    for name in sorted(set().union(*(scores.keys() for scores in before.values()))):
        pairs = [
            (before[case][name], after[case][name])
            for case in before.keys() & after.keys()
            if before[case].get(name) is not None and after[case].get(name) is not None
        ]
        if pairs:
            old, new = statistics.fmean(pair[0] for pair in pairs), statistics.fmean(pair[1] for pair in pairs)
            metrics[name] = {"before": old, "after": new, "difference": new - old, "n": len(pairs)}
    changed = {
        case: {"before": before[case]["correct"], "after": after[case]["correct"]}
        for case in sorted(before.keys() & after.keys())
        if before[case].get("correct") is not None
        and after[case].get("correct") is not None
        and before[case]["correct"] != after[case]["correct"]
    }
    return {"before": first["release"], "after": second["release"], "metrics": metrics, "changed_cases": changed}


async def _scores(app: Application, evaluation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    data = await verified_blob(app, Digest(evaluation["runs"]), f"evaluation {evaluation['id']}")
    collected: dict[str, dict[str, list[float]]] = {}
    for result in json.loads(data)["candidate"]["results"]:
        case = collected.setdefault(result["case"], {})
        for name, score in result["scores"].items():
            if score is not None:
                case.setdefault(name, []).append(score)
    return {
        case: {name: statistics.fmean(values) for name, values in scores.items()} for case, scores in collected.items()
    }
