"""Evaluating a release: run it and what is stable now on the same cases, judge, keep the evidence."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson

from shipway.core.disk import explained
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ulid
from shipway.core.verdicts import Verdict
from shipway.evals.budget import Estimate, Meter
from shipway.evals.gate_report import GateReport
from shipway.evals.metrics import Metric
from shipway.evals.model import RunReport
from shipway.evals.ports import ResponseCache, Target
from shipway.evals.report import Regression, regressions
from shipway.evals.report_files import write_reports
from shipway.evals.report_forms import as_json
from shipway.evals.report_source import Places
from shipway.evals.run_directory import REPORT_FILE, RunDirectory, write_whole
from shipway.evals.runner import Around, Progress
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.cached_target import CachedTarget
from shipway.services.evaluation_blobs import run_bytes
from shipway.services.evaluation_plan import (
    EVALUATION_KIND,
    EvaluationRequest,
    EvaluationTargets,
    Prepared,
    Subject,
    binding_body,
    prepare,
    run_file,
)
from shipway.services.evaluation_runs import (
    Looked,
    Running,
    asking,
    fails_case,
    look_until_decided,
    over_budget,
    score_runs,
    spent_by,
    too_many_errors,
)
from shipway.services.evaluation_scoring import Opinions, opened_opinions, write_scores
from shipway.services.gates import quarantine_of
from shipway.services.judges.building import JudgeParts
from shipway.services.judges.purse import judge_spent
from shipway.services.run_directories import open_run
from shipway.services.stored_reports import places_of

__all__ = [
    "Evaluation",
    "EvaluationParts",
    "EvaluationRequest",
    "EvaluationTargets",
    "evaluate",
    "latest_evaluation",
    "stored_run",
]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation.

    `id` is empty where nothing was to be judged, `whole` is false of a shard. `cost` holds calls, tokens_in and
    tokens_out, usd where it is known, and the same of the judge as judge_calls and so on. `problem` says why a run
    without gates is not whole. `metrics` are those that gates and settings name, `places` where gates and cases were
    written.
    """

    id: str
    release: str
    baseline: str | None
    report: GateReport
    run: RunReport
    baseline_run: RunReport | None
    worse: tuple[Regression, ...]
    run_id: str = ""
    directory: Path | None = None
    cost: Mapping[str, float] = field(default_factory=dict, hash=False)
    looks: int = 1
    problem: str = ""
    whole: bool = True
    metrics: Mapping[str, Metric] = field(default_factory=dict, hash=False)
    places: Places = field(default_factory=Places, hash=False)

    @property
    def judged(self) -> bool:
        """Whether gates looked at it."""
        return bool(self.id)

    @property
    def verdict(self) -> Verdict:
        """Return the gate's verdict."""
        return self.report.verdict


@dataclass(frozen=True, slots=True)
class EvaluationParts:
    """What an evaluation has around it.

    `progress` hears of calls, `tell` of what takes long, `began` of the run's folder once it is there. `judge` is what
    judges are made of. `cache` gives answers again where no release is judged.
    """

    progress: Callable[[Progress], None] | None = None
    tell: Callable[[str], None] = lambda _line: None
    began: Callable[[Path], None] = lambda _path: None
    judge: JudgeParts | None = None
    cache: ResponseCache | None = None


async def estimated(app: Application, request: EvaluationRequest, targets: EvaluationTargets) -> Estimate:
    """Return what an evaluation takes; nothing is asked.

    Raises:
        UsageError: as `evaluate`.
    """
    prepared = await prepare(app, request, targets)
    Meter(prepared.charges, prepared.caps).demand_prices()
    return prepared.estimate()


async def evaluate(
    app: Application,
    request: EvaluationRequest,
    targets: EvaluationTargets,
    progress: Callable[[Progress], None] | None = None,
    parts: EvaluationParts | None = None,
) -> Evaluation:
    """Run the release, and the baseline interleaved, then judge and store the evidence.

    Raises:
        NotFoundError: no such release.
        DatasetError: the dataset is malformed.
        UsageError: a gate that can never decide, or an estimate over the budget without `yes`.
        GateRefusedError: the two runs measured different things, or the budget ended the run.
    """
    parts = parts or EvaluationParts(progress)
    prepared = await prepare(app, request, targets)
    meter = Meter(prepared.charges, prepared.caps)
    meter.demand_prices()
    _demand_affordable(prepared, request)
    unknown = prepared.estimate().unknown
    if unknown and prepared.caps.tokens is not None:
        parts.tell(f"the budget of {prepared.caps.tokens:,} tokens is held by what answers turn out to take: {unknown}")
    async with AsyncExitStack() as stack:
        judging = opened_opinions(app, prepared.scoring, parts.judge, parts.tell, meter)
        opinions = await stack.enter_async_context(judging)
        opened = {item.name: await _opened(stack, item, request, targets) for item in prepared.subjects}
        if parts.cache is not None and not request.gates:
            opened = {name: CachedTarget(target, parts.cache) for name, target in opened.items()}
        running = await stack.enter_async_context(_begun(app, request, targets, _Ready(prepared, opinions, meter)))
        parts.began(running.directory.path)
        around = Around(app.clock, meter, parts.progress, fails_case(prepared))
        ask = asking(running, opened, around)
        if request.gates and prepared.shard is None:
            looked = await look_until_decided(running, ask)
        else:
            outcome = await ask(0, prepared.plan.repeats)
            if outcome.stopped == "budget":
                raise over_budget(running)
            looked = await _unjudged(running)
        return await _finished(app, request, running, looked)


async def judged_directory(
    app: Application,
    request: EvaluationRequest,
    targets: EvaluationTargets,
    directory: RunDirectory,
    parts: EvaluationParts | None = None,
) -> Evaluation:
    """Score and judge the answers that a run directory holds; no release is asked, judges are for what is new.

    The budget holds for what the judge is asked now.

    Raises:
        GateRefusedError: candidate and baseline measured different things.
        UsageError: gates are to judge answers that came from the cache.
    """
    parts = parts or EvaluationParts()
    # A run with gates asks no cache: what is marked there was marked by the target, as a log of answers does.
    if request.gates and directory.cached() and not directory.plan.identity["settings"]["gates"]:
        raise UsageError(
            f"{directory.path}: {directory.cached()} answers are from the cache; a gate wants fresh ones",
            hint="evaluate anew, or score alone: --no-gates",
        )
    prepared = await prepare(app, request, targets)
    meter = Meter(prepared.charges, prepared.caps)
    if prepared.judge is not None:
        Meter({prepared.judge.name: prepared.judge.charge}, prepared.caps).demand_prices()
    async with opened_opinions(app, prepared.scoring, parts.judge, parts.tell, meter) as opinions:
        running = await _running(app, targets, _Ready(prepared, opinions, meter), directory)
        before = judge_spent(directory.path)
        if opinions.purse is not None:
            opinions.purse.keep_in(directory.path)
        looked = await look_until_decided(running, None) if request.gates else await _unjudged(running)
        meter.add(directory.spent(), before)
        return await _finished(app, request, running, looked)


async def latest_evaluation(app: Application, release: str) -> dict[str, Any] | None:
    """Return the newest stored evaluation of a release."""
    found = await app.state.documents.list(EVALUATION_KIND, prefix=f"{release}/")
    return max(found, key=lambda item: item[0])[1] if found else None


async def stored_run(app: Application, release: str) -> dict[str, Any]:
    """Return the newest stored run of a release with outputs and scores.

    Raises:
        NotFoundError: it was never evaluated.
    """
    known = await app.releases.get(release)
    found = await latest_evaluation(app, known.id)
    if found is None:
        raise NotFoundError(f"release {known.id} has not been evaluated", hint=f"run `shipway eval run {known.id}`")
    return found


def comparable_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return which digests of two stored evaluations differ, a line each; empty when they measured the same thing."""
    digests = {name: (value, second["binding"].get(name)) for name, value in first["binding"].items()}
    return [f"{name} {was} against {now}" for name, (was, now) in digests.items() if was != now]


async def _opened(
    stack: AsyncExitStack, subject: Subject, request: EvaluationRequest, targets: EvaluationTargets
) -> Target:
    if subject.release is None and request.target is not None:
        return request.target
    if subject.release is None:
        raise UsageError(f"{subject.name}: nothing to ask")
    return await stack.enter_async_context(targets.opened(subject.release))


def _demand_affordable(prepared: Prepared, request: EvaluationRequest) -> None:
    found = prepared.estimate()
    excess = prepared.caps.excess(found.spent)
    if excess and not request.yes and not request.resume:
        raise UsageError(
            f"the run is estimated at {excess}; nothing was asked (estimated by {found.basis})",
            hint="raise the budget, ask fewer repeats, or give --yes to begin all the same:"
            " it ends before the call that would exceed the budget, and its answers are kept",
        )


@dataclass(frozen=True, slots=True)
class _Ready:
    """What is there before the folder of a run is."""

    prepared: Prepared
    opinions: Opinions
    meter: Meter


@asynccontextmanager
async def _begun(
    app: Application, request: EvaluationRequest, targets: EvaluationTargets, ready: _Ready
) -> AsyncIterator[Running]:
    plan = run_file(app, request, ready.prepared, ready.opinions)
    out, cases = request.out, ready.prepared.dataset.cases
    directory = await anyio.to_thread.run_sync(lambda: open_run(app, plan, cases, out, resume=request.resume))
    try:
        # The budget is that of the whole run, whoever paid for which part of it when.
        ready.meter.add(directory.spent(), judge_spent(directory.path))
        if ready.opinions.purse is not None:
            ready.opinions.purse.keep_in(directory.path)
        yield await _running(app, targets, ready, directory)
    finally:
        directory.close()
        directory.remove_if_unanswered()


async def _running(app: Application, targets: EvaluationTargets, ready: _Ready, directory: RunDirectory) -> Running:
    prepared = ready.prepared
    access = {
        item.name: await targets.access(item.release) if item.release is not None else None
        for item in prepared.subjects
    }
    quarantine = await quarantine_of(app.loaded, prepared.dataset, now_s=app.clock.now_s())
    return Running(prepared, ready.opinions, directory, ready.meter, access, quarantine)


async def _unjudged(running: Running) -> Looked:
    runs, results = await score_runs(running, running.prepared.plan.repeats)
    if running.opinions.is_over_budget:
        raise over_budget(running)
    return Looked(GateReport(()), runs, results, 1)


async def _finished(app: Application, request: EvaluationRequest, running: Running, looked: Looked) -> Evaluation:
    prepared, directory = running.prepared, running.directory
    baseline = prepared.baseline
    run = looked.runs[prepared.candidate.name]
    before = looked.runs[baseline.name] if baseline is not None else None
    judged = request.gates and prepared.shard is None
    evaluation = Evaluation(
        f"eval_{ulid(app.clock.now_s()).lower()}" if judged else "",
        prepared.candidate.name,
        baseline.name if baseline else None,
        looked.report,
        run,
        before,
        _worse(prepared, run, before),
        directory.plan.run,
        directory.path,
        spent_by(running.meter),
        looked.look,
        "" if judged else too_many_errors(running),
        prepared.shard is None,
        {name: prepared.scoring.metrics[name] for name in prepared.named_metrics(app.project.evals.metrics)},
        await places_of(app, prepared.dataset, request.dataset) if judged else Places(),
    )
    await write_scores(directory, looked.results)
    if judged and prepared.candidate.release is not None:
        await _store(app, evaluation, prepared.candidate.release)
    await _write_report(evaluation, prepared)
    return evaluation


def _worse(prepared: Prepared, run: RunReport, before: RunReport | None) -> tuple[Regression, ...]:
    if before is None or prepared.shard is not None:
        return ()
    metric = "supported" if any(spec.metric == "supported" for spec in prepared.specs) else "correct"
    return tuple(regressions(run, before, metric))


async def _write_report(evaluation: Evaluation, prepared: Prepared) -> None:
    """Write `report.json`: the whole report, or of a run that was not judged that it is partial."""
    path = (evaluation.directory or Path()) / REPORT_FILE
    if evaluation.judged:
        for error in await write_reports(evaluation, {"json": path}, places=evaluation.places):
            raise error
        return
    body = {
        "run": evaluation.run_id,
        "release": evaluation.release,
        "baseline": evaluation.baseline,
        "verdict": Verdict.ERROR if evaluation.problem else "partial",
        "problem": evaluation.problem or None,
        "shard": str(prepared.shard) if prepared.shard is not None else None,
        "cost": dict(evaluation.cost),
        "provenance": dict(evaluation.run.provenance),
    }

    def write() -> None:
        with explained(path, "cannot be written"):
            write_whole(path, orjson.dumps(body, option=orjson.OPT_INDENT_2))

    await anyio.to_thread.run_sync(write)


async def _store(app: Application, evaluation: Evaluation, release: Release) -> None:
    blob = await app.state.blobs.put(run_bytes(evaluation.run, evaluation.baseline_run, evaluation.directory))
    body = {
        "id": evaluation.id,
        "release": evaluation.release,
        "baseline": evaluation.baseline,
        "verdict": evaluation.verdict.value,
        "at_s": app.clock.now_s(),
        "actor": app.actor,
        "report": as_json(evaluation.report),
        "binding": binding_body(evaluation.run.binding),
        "runs": blob,
        "run": evaluation.run_id,
        "usage": dict(evaluation.cost),
    }
    await app.state.documents.put(EVALUATION_KIND, f"{evaluation.release}/{evaluation.id}", body, expected_version=0)
    statement = {
        "statement": "evaluated",
        "by": app.actor,
        "at_s": body["at_s"],
        "verdict": evaluation.verdict.value,
        "evaluation": evaluation.id,
        "baseline": evaluation.baseline,
    }
    await app.releases.sign_off(release.id, statement)
    await app.audit(
        "release.evaluated",
        evaluation.release,
        verdict=evaluation.verdict.value,
        baseline=evaluation.baseline,
        evaluation=evaluation.id,
    )
