"""Evaluating a release: run it and what is stable now on the same cases, judge, keep the evidence."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from shipway.core.canonical import canonical_json
from shipway.core.errors import NotFoundError
from shipway.core.ids import Digest, ReleaseId, ulid
from shipway.core.verdicts import Verdict
from shipway.evals.assertions import LoadedAssertions, import_function, load_assertions
from shipway.evals.baseline import NO_JUDGE, bind
from shipway.evals.gate_report import GateReport
from shipway.evals.gates import GateOptions, check_gates, evaluate_gates
from shipway.evals.metric_context import DocumentAccess, Function, MetricContext
from shipway.evals.metric_names import functions_needed
from shipway.evals.metrics import Metric
from shipway.evals.model import Dataset, RunReport
from shipway.evals.ports import Target
from shipway.evals.report import Regression, regressions
from shipway.evals.report_forms import as_json, run_as_json
from shipway.evals.runner import Progress, RunPlan, run
from shipway.evals.scoring import score_attempts
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.gates import gate_metrics, gate_specs, own_sd, quarantine_of

_KIND = "evaluation"
_NO_CORPUS = NO_JUDGE


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate; `baseline` empty means what is stable now. `dataset` empty means the project's."""

    release: str
    baseline: str = ""
    dataset: str = ""
    repeats: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation."""

    id: str
    release: ReleaseId
    baseline: ReleaseId | None
    report: GateReport
    run: RunReport
    baseline_run: RunReport | None
    worse: tuple[Regression, ...]

    @property
    def verdict(self) -> Verdict:
        """Return the gate's verdict."""
        return self.report.verdict


class EvaluationTargets(Protocol):
    """What turns a release into something that answers cases."""

    def opened(self, release: Release) -> AbstractAsyncContextManager[Target]:
        """Open a release for evaluation and close it again."""
        ...

    async def access(self, release: Release) -> Mapping[str, DocumentAccess] | None:
        """Return who may see which document of the release's corpus, None without a corpus."""
        ...


@dataclass(frozen=True, slots=True)
class Scoring:
    """What answers are scored by; `functions` are those that metrics name."""

    metrics: Mapping[str, Metric]
    assertions: LoadedAssertions
    functions: Mapping[str, Function]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who answers, and what is done with the answers."""

    targets: EvaluationTargets
    scoring: Scoring
    progress: Callable[[Progress], None] | None


async def evaluate(
    app: Application,
    request: EvaluationRequest,
    targets: EvaluationTargets,
    progress: Callable[[Progress], None] | None = None,
) -> Evaluation:
    """Run the release, and the baseline interleaved, then judge and store the evidence.

    Raises:
        NotFoundError: no such release.
        DatasetError: the dataset is malformed.
        GateRefusedError: the two runs measured different things.
    """
    release = await app.releases.get(request.release)
    baseline = await _baseline(app, release, request.baseline)
    dataset = await _dataset(app, request.dataset)
    specs, sd = gate_specs(app.project), await own_sd(app, dataset)
    metrics = gate_metrics(specs, repeats=request.repeats or app.project.evals.repeats)
    check_gates(specs, dataset, metrics, sd=sd)
    loaded = await load_assertions(dataset, app.loaded.root)
    scoring = Scoring(metrics, loaded, {path: import_function(path) for path in functions_needed(metrics)})
    asked = [release] if baseline is None else [release, baseline]
    runs = await _runs(app, request, asked, dataset, Asking(targets, scoring, progress))
    options = GateOptions(
        metrics=metrics,
        first_release=baseline is None,
        expected_changes=_expected_changes(release, baseline),
        sd=sd,
        quarantine=await quarantine_of(app.loaded, dataset, now_s=app.clock.now_s()),
    )
    baseline_run = runs[baseline.id] if baseline is not None else None
    report = evaluate_gates(specs, runs[release.id], baseline_run, options)
    metric = "supported" if any(spec.metric == "supported" for spec in specs) else "correct"
    worse = tuple(regressions(runs[release.id], baseline_run, metric)) if baseline_run else ()
    evaluation = Evaluation(
        f"eval_{ulid(app.clock.now_s()).lower()}",
        release.id,
        baseline.id if baseline else None,
        report,
        runs[release.id],
        baseline_run,
        worse,
    )
    await _store(app, evaluation)
    return evaluation


async def latest_evaluation(app: Application, release: str) -> dict[str, Any] | None:
    """Return the newest stored evaluation of a release."""
    found = await app.state.documents.list(_KIND, prefix=f"{release}/")
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


async def _baseline(app: Application, release: Release, named: str) -> Release | None:
    if named:
        return await app.releases.get(named)
    stable = await app.releases.label(app.environment)
    return await app.releases.get(stable) if stable is not None and stable != release.id else None


async def _dataset(app: Application, named: str) -> Dataset:
    settings = app.project.evals
    dataset = await load_project_dataset(app.loaded, named)
    return dataset if settings.split == "all" else dataset.only(settings.split)


async def _runs(
    app: Application, request: EvaluationRequest, releases: list[Release], dataset: Dataset, asking: Asking
) -> dict[str, RunReport]:
    settings = app.project.evals
    plan = RunPlan(
        repeats=request.repeats or settings.repeats,
        concurrency=request.concurrency or settings.concurrency,
        timeout_s=settings.case_timeout_s,
    )
    targets, scoring = asking.targets, asking.scoring
    async with AsyncExitStack() as stack:
        opened = {str(release.id): await stack.enter_async_context(targets.opened(release)) for release in releases}
        attempts = await run(opened, dataset, plan, clock=app.clock, progress=asking.progress)
    reports: dict[str, RunReport] = {}
    for release in releases:
        context = MetricContext(
            access=await targets.access(release),
            assertions=scoring.assertions.by_case,
            functions={**scoring.assertions.functions, **scoring.functions},
        )
        results = score_attempts(attempts[release.id], dataset, context, scoring.metrics)
        binding = bind(dataset, corpus=_corpus_digest(release), schemas=scoring.assertions.digest)
        reports[release.id] = RunReport(release.id, release.id, dataset, plan.repeats, results, binding)
    return reports


def _corpus_digest(release: Release) -> Digest:
    corpus = release.manifest["data"]["corpus"]
    return Digest(corpus["manifest"]) if corpus else _NO_CORPUS


def _expected_changes(release: Release, baseline: Release | None) -> frozenset[str]:
    # A release that brings a new corpus is judged on it: that difference is what is being evaluated.
    if baseline is not None and _corpus_digest(release) != _corpus_digest(baseline):
        return frozenset({"corpus"})
    return frozenset()


async def _store(app: Application, evaluation: Evaluation) -> None:
    runs = {"candidate": run_as_json(evaluation.run)}
    if evaluation.baseline_run is not None:
        runs["baseline"] = run_as_json(evaluation.baseline_run)
    blob = await app.state.blobs.put(canonical_json(runs))
    body = {
        "id": evaluation.id,
        "release": evaluation.release,
        "baseline": evaluation.baseline,
        "verdict": evaluation.verdict.value,
        "at_s": app.clock.now_s(),
        "actor": app.actor,
        "report": as_json(evaluation.report),
        "binding": runs["candidate"]["binding"],
        "runs": blob,
    }
    await app.state.documents.put(_KIND, f"{evaluation.release}/{evaluation.id}", body, expected_version=0)
    statement = {
        "statement": "evaluated",
        "by": app.actor,
        "at_s": body["at_s"],
        "verdict": evaluation.verdict.value,
        "evaluation": evaluation.id,
        "baseline": evaluation.baseline,
    }
    await app.releases.sign_off(evaluation.release, statement)
    await app.audit(
        "release.evaluated",
        evaluation.release,
        verdict=evaluation.verdict.value,
        baseline=evaluation.baseline,
        evaluation=evaluation.id,
    )


def comparable_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return which digests of two stored evaluations differ; empty when they measured the same thing."""
    return [name for name, value in first["binding"].items() if second["binding"].get(name) != value]
