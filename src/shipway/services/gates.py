"""The project's gates as its commands need them: what they demand, how often they would err, what they found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.config.sections.evals import Evals
from shipway.config.yaml_source import read_yaml
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import Digest
from shipway.evals.baseline import NO_JUDGE, metric_code_digest
from shipway.evals.gate_report import GateReport
from shipway.evals.gate_spec import GateSpec, parse_gates
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.history import pooled_sd
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Binding, CaseResult, Dataset, RunReport
from shipway.evals.quarantine import Quarantine, parse_quarantine
from shipway.evals.sample import score_table
from shipway.evals.simulate import Pool, Simulation, SimulationPlan, simulate
from shipway.evals.tools.gating import is_tool_metric
from shipway.services.application import Application
from shipway.services.first_release import earlier_release
from shipway.services.handed_evaluations import HandedEvaluation
from shipway.services.judges.binding import other_judge, present_judge
from shipway.services.judges.building import JudgeParts
from shipway.services.project_dataset import project_dataset
from shipway.services.releases import verified_blob

QUARANTINE_FILE = "evals/quarantine.yaml"
_KIND = "evaluation"
# They are listed oldest first, and the newest are wanted.
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class JudgedAgain:
    """A stored run under the present gates."""

    release: str
    evaluation: str
    report: GateReport


def gate_specs(project: Project) -> list[GateSpec]:
    """Return what the project's gates demand of an evaluation; `eval tool` judges those on a tool's metrics.

    Raises:
        UsageError: a gate that makes no sense.
    """
    own = [gate for gate in project.gates if not is_tool_metric(gate.metric)]
    return parse_gates([gate.model_dump(exclude_defaults=True) for gate in own])


def gate_metrics(
    specs: Sequence[GateSpec], settings: Evals | None = None, *, repeats: int | None = None
) -> Mapping[str, Metric]:
    """Return the metrics that every run has, and those that gates and the settings of evaluations name beside them.

    `repeats` is how often each case is answered, None when that is not decided yet.

    Raises:
        UsageError: a name that stands for no metric, or for one that the run cannot have.
    """
    settings = settings or Evals()
    names = [*settings.metrics, *(spec.metric for spec in specs)]
    judge = settings.judge or ""
    return {**METRICS, **resolve_metrics(names, has_judge=bool(judge), judge=judge, repeats=repeats)}


async def quarantine_of(loaded: LoadedProject, dataset: Dataset, *, now_s: float) -> Quarantine:
    """Return the cases that nobody is warned about; none without a quarantine file.

    Raises:
        ConfigError: the file cannot be read.
        DatasetError: an entry is wrong or has expired.
    """
    try:
        file = await anyio.to_thread.run_sync(read_yaml, loaded.root / QUARANTINE_FILE, QUARANTINE_FILE)
    except NotFoundError:
        return Quarantine()
    return parse_quarantine(file, {case.id for case in dataset.cases}, datetime.fromtimestamp(now_s, UTC).date())


async def own_sd(app: Application, dataset: Dataset) -> dict[str, float]:
    """Return the standard deviations of case differences that the project's own evaluations found, by metric."""
    stored = await app.state.documents.list(_KIND, limit=_ALL)
    return pooled_sd((body for _, body, *_ in stored), dataset.digest, metric_code_digest())


async def simulated_gates(app: Application, release: str, plan: SimulationPlan) -> Simulation:
    """Resample the answers of a release's newest evaluation, of both its runs; empty means the newest of all.

    Raises:
        NotFoundError: nothing was evaluated.
        UsageError: it was evaluated on other cases, or the gates cannot be simulated.
    """
    runs = await _stored_runs(app, await _evaluation(app, release), await _dataset(app))
    specs = gate_specs(app.project)
    metrics = gate_metrics(specs, app.project.evals)
    names = [spec.metric for spec in specs]
    pool = Pool.of(runs[0].dataset, [score_table(run, names) for run in runs])
    options = GateOptions(metrics=metrics)
    return await anyio.to_thread.run_sync(simulate, specs, pool, plan, options)


async def judged_again(app: Application, release: str, parts: JudgeParts) -> JudgedAgain:
    """Judge a release's newest stored run by the present gates; nothing is asked again.

    Raises:
        NotFoundError: it was never evaluated.
        UsageError: it was evaluated on other cases, or by another judge than the project's.
        GateRefusedError: candidate and baseline measured different things.
    """
    found = await _evaluation(app, release)
    runs = await _stored_runs(app, found, await _dataset(app))
    # What has passed since does not make it a later release.
    first = await earlier_release(app, found["release"], before_s=float(found["at_s"])) is None
    return JudgedAgain(found["release"], found["id"], await _judged(app, runs, parts, first=first))


async def judged_handed(app: Application, handed: HandedEvaluation, parts: JudgeParts) -> JudgedAgain:
    """Judge an evaluation that another store handed on by the present gates; this store is not changed.

    Raises:
        UsageError: it was made on other cases, or by another judge than the project's.
        GateRefusedError: candidate and baseline measured different things.
    """
    runs = _read_runs(handed.runs, await _dataset(app))
    first = await earlier_release(app, handed.release, before_s=float(handed.document["at_s"])) is None
    return JudgedAgain(handed.release, handed.id, await _judged(app, runs, parts, first=first))


async def judged_file(app: Application, path: Path, parts: JudgeParts, *, first: bool) -> JudgedAgain:
    """Judge runs from a file: `{"candidate": RUN, "baseline": RUN}` with runs as `shipway eval` stores them.

    Raises:
        UsageError: the file holds no runs, or runs on other cases or by another judge.
    """
    try:
        body = json.loads(await anyio.Path(path).read_bytes())
        _refuse_report(body, path)
        dataset = await _dataset(app)
        runs = [_run(body[name], dataset) for name in ("candidate", "baseline") if name in body]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        wrong = f"{type(error).__name__}: {error}"
        hint = 'it must hold {"candidate": RUN, "baseline": RUN}, with runs as `shipway eval` stores them'
        raise UsageError(f"{path}: holds no stored runs ({wrong})", hint=hint) from error
    if not runs or "candidate" not in body:
        raise UsageError(f"{path}: holds no run of a candidate")
    return JudgedAgain(runs[0].target, str(path), await _judged(app, runs, parts, first=first))


def _refuse_report(body: object, path: Path) -> None:
    if isinstance(body, dict) and "gates" in body and not isinstance(body.get("candidate"), dict):
        raise UsageError(
            f"{path}: is a report, which has no answers to judge again",
            hint="the folder of its run has them: `shipway eval rescore RUN`; or name the release:"
            " `shipway gate run REL`",
        )


async def judge_since(app: Application, evaluation: Mapping[str, Any], parts: JudgeParts) -> str:
    """Return who judged a stored evaluation and who judges the project's gates now; empty when it is the same.

    Raises:
        ConfigError: the judge's files cannot be read.
    """
    was = Digest(evaluation["binding"]["judge"])
    if was == NO_JUDGE:
        return ""
    metrics, dataset = _gated(app), await _dataset(app)
    return other_judge(was, await present_judge(app, metrics, dataset.cases, parts))


async def stored_evaluation(app: Application, name: str) -> dict[str, Any]:
    """Return the evaluation of this id, or the newest of the release of this id.

    Raises:
        NotFoundError: there is none.
    """
    for _, body, *_ in await app.state.documents.list(_KIND, limit=_ALL):
        if body["id"] == name:
            return dict(body)
    return await _evaluation(app, name)


async def _judged(app: Application, runs: list[RunReport], parts: JudgeParts, *, first: bool) -> GateReport:
    specs = gate_specs(app.project)
    dataset = runs[0].dataset
    differs = other_judge(runs[0].binding.judge, await present_judge(app, _gated(app), dataset.cases, parts))
    if differs:
        raise UsageError(
            f"the run of {runs[0].target} was scored by another judge: {differs}",
            hint=f"evaluate again: `shipway eval run {runs[0].target}`; or have its answers judged anew:"
            " `shipway eval rescore RUN`",
        )
    options = GateOptions(
        first_release=first and len(runs) == 1,
        metrics=gate_metrics(specs, app.project.evals),
        quarantine=await quarantine_of(app.loaded, dataset, now_s=app.clock.now_s()),
        # The runs were comparable when they were made; a corpus that differs was the release's own change.
        expected_changes=frozenset({"corpus"}),
    )
    baseline = runs[1] if len(runs) > 1 else None
    return await anyio.to_thread.run_sync(evaluate_gates, specs, runs[0], baseline, options)


def _gated(app: Application) -> dict[str, Metric]:
    """Return the metrics that the project's gates name."""
    specs = gate_specs(app.project)
    metrics = gate_metrics(specs, app.project.evals)
    return {spec.metric: metrics[spec.metric] for spec in specs}


async def _dataset(app: Application) -> Dataset:
    dataset = await project_dataset(app.loaded)
    if dataset is None:
        raise UsageError("the project names no dataset and has no gates", hint="write `evals` and `gates`")
    return dataset


async def _evaluation(app: Application, release: str) -> dict[str, Any]:
    prefix = f"{(await app.releases.get(release)).id}/" if release else ""
    found = await app.state.documents.list(_KIND, prefix=prefix, limit=_ALL)
    if not found:
        what = f"release {release}" if release else "no release"
        said = f"{what} has not been evaluated" if release else f"{what} has been evaluated"
        raise NotFoundError(said, hint=f"run `shipway eval run {release or 'REL'}`")
    return dict(max((item[1] for item in found), key=lambda body: float(body["at_s"])))


async def _stored_runs(app: Application, found: Mapping[str, Any], dataset: Dataset) -> list[RunReport]:
    return _read_runs(await verified_blob(app, Digest(found["runs"]), f"evaluation {found['id']}"), dataset)


def _read_runs(data: bytes, dataset: Dataset) -> list[RunReport]:
    body = json.loads(data)
    return [_run(body[name], dataset) for name in ("candidate", "baseline") if name in body]


def _run(body: Mapping[str, Any], dataset: Dataset) -> RunReport:
    binding = Binding(**body["binding"])
    if binding.dataset != dataset.digest:
        raise UsageError(
            f"the run of {body['target']} was made on other cases: dataset {binding.dataset} against {dataset.digest}",
            hint=f"evaluate again: `shipway eval run {body['target']}`",
        )
    results = tuple(
        CaseResult(item["case"], int(item["repeat"]), item["scores"], item["errors"]) for item in body["results"]
    )
    return RunReport(body["target"], body["target_digest"], dataset, int(body["repeats"]), results, binding)
