"""Running a pipeline: choosing its stages, going on with an interrupted run, keeping what came of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from shipway.core.canonical import digest_json
from shipway.core.clock import Clock
from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ulid
from shipway.core.ports import DocumentStore
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.model import RunReport, StageEvent, StageResult, StageState
from shipway.pipeline.plan import plan_digest, plan_document
from shipway.pipeline.ports import Progress, RunRecord, RunRecords, StageMemory
from shipway.pipeline.runner import PipelineRunner
from shipway.pipeline.selection import Asked, Circumstance, Selection, select

_KEPT_RUNS = 50
_HISTORY_RUNS = 5
LATEST = "latest"
"""What `--resume` means without the name of a run."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run as asked for."""

    asked: Asked = field(default_factory=Asked)
    circumstance: Circumstance = field(default_factory=Circumstance)
    resume: str = ""
    """The interrupted run to go on with, or `LATEST`; empty for a new one."""


@dataclass(frozen=True, slots=True)
class RunParts:
    """What a run is made of; `memory` is given the results of the interrupted run."""

    runner: PipelineRunner
    runs: RunRecords
    memory: Callable[[Mapping[str, StageResult]], StageMemory]
    clock: Clock
    version: str
    tell: Progress = field(default=lambda _event: None)
    begun: Callable[[str], None] = field(default=lambda _run_id: None)
    """Told the id of the run before its first stage."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A run that can begin: which stages run, and what is known of the others."""

    selection: Selection
    settled: Mapping[str, StageResult]
    run: RunRecord | None = None


async def run_pipeline(graph: StageGraph, request: RunRequest, parts: RunParts) -> RunReport:
    """Run a pipeline, or go on with an interrupted run of it.

    Raises:
        NotFoundError: there is no such run, or none was interrupted.
        UsageError: another plan, a stage that is not there, or one whose needed results nobody has.
    """
    interrupted = _interrupted(graph, request, parts) if request.resume else None
    if interrupted is not None:
        request = _as_begun(interrupted)
    selection = select(graph, request.asked, request.circumstance)
    settled = settled_results(selection, parts.runs)
    memory = parts.memory(_results_of(interrupted))
    await provide_files(graph, settled, memory)
    run = interrupted or _begun(graph, request, parts)
    parts.begun(run.run_id)

    # Told first and not in their turn, so that nobody waits for them or counts them.
    for name in selection.left_out:
        parts.tell(StageEvent(name, StageState.SKIPPED, result=settled[name]))

    def heard(event: StageEvent) -> None:
        if event.stage in selection.left_out:
            return
        if event.result is not None:
            run.append(event.result)
        parts.tell(event)

    runner = replace(parts.runner, progress=heard, output=run.output, memory=memory)
    report = await runner.run(graph, settled, run.run_id)
    run.finish(report.to_dict())
    for old in parts.runs.all()[_KEPT_RUNS:]:
        parts.runs.remove(old)
    return report


def settled_results(selection: Selection, runs: RunRecords) -> dict[str, StageResult]:
    """Return the results of the stages that do not run: left out, or taken from the last run that has them.

    Raises:
        UsageError: no run has one.
    """
    settled = {
        name: StageResult(name, StageState.SKIPPED, allowed=True, problem=reason)
        for name, reason in selection.left_out.items()
    }
    wanted = set(selection.earlier)
    for run in runs.all():
        if not wanted:
            break
        for name, result in run.results().items():
            if name in wanted and not result.blocks and result.state is not StageState.SKIPPED:
                wanted.remove(name)
                settled[name] = replace(result, known=run.run_id)
    if wanted:
        missing = ", ".join(sorted(wanted))
        raise UsageError(
            f"no run has the results of {missing}, which the stages that were asked for build on",
            hint="run them too: `shipway pipeline run --until NAME`",
        )
    return settled


async def provide_files(graph: StageGraph, settled: Mapping[str, StageResult], memory: StageMemory) -> None:
    """See to it that the files of stages that do not run are as their results say: others build on them.

    Raises:
        UsageError: a file is not, and cannot be put back without taking somebody's work.
    """
    for name, result in settled.items():
        if result.files and name in graph.stages:
            await memory.provide(graph.stages[name], result)


def expected_durations(runs: RunRecords) -> dict[str, float]:
    """Return how long each stage took when it last ran, in seconds."""
    found: dict[str, float] = {}
    for run in runs.all()[:_HISTORY_RUNS]:
        for name, result in run.results().items():
            if result.attempts and not result.known:
                found.setdefault(name, result.duration_s)
    return found


async def record_run(documents: DocumentStore, report: RunReport, plan: str) -> None:
    """Note a run in the registry: verdicts, times and numbers, without what stages printed."""
    stages = [
        {
            "name": result.name,
            "state": result.state.value,
            "verdict": result.verdict.value,
            "duration_s": round(result.duration_s, 3),
            "known": result.known,
            "metrics": result.metrics,
            "files": dict(result.files),
        }
        for result in report.results
    ]
    body = {
        "run": report.run_id,
        "plan": plan,
        "verdict": report.verdict.value,
        "started_at_s": report.started_at_s,
        "duration_s": round(report.duration_s, 3),
        "stages": stages,
    }
    await documents.put("pipeline_run", report.run_id, body)


def _begun(graph: StageGraph, request: RunRequest, parts: RunParts) -> RunRecord:
    now_s = parts.clock.now_s()
    plan = plan_document(graph, parts.version)
    document = {
        "digest": digest_json(plan),
        "asked": asdict(request.asked),
        "circumstance": asdict(request.circumstance),
        "begun_at_s": now_s,
        "plan": plan,
    }
    return parts.runs.begin(ulid(now_s), document)


def _interrupted(graph: StageGraph, request: RunRequest, parts: RunParts) -> RunRecord:
    if request.resume == LATEST:
        run = next((run for run in parts.runs.all() if not run.finished), None)
        if run is None:
            raise NotFoundError("no run was interrupted", hint="begin one: `shipway pipeline run`")
    else:
        run = parts.runs.get(request.resume)
        if run.finished:
            raise UsageError(f"run {run.run_id} is finished", hint="begin a new one: `shipway pipeline run`")
    planned = run.plan()
    if planned.get("digest") != plan_digest(graph, parts.version):
        different = ", ".join(_differing(planned.get("plan", {}), plan_document(graph, parts.version)))
        raise UsageError(
            f"run {run.run_id} was begun under another plan: {different} differ",
            hint="begin a new one; what the cache has is not run again: `shipway pipeline run`",
        )
    return run


def _results_of(run: RunRecord | None) -> dict[str, StageResult]:
    found = run.results() if run is not None else {}
    return {name: replace(result, known=result.known or (run.run_id if run else "")) for name, result in found.items()}


def _as_begun(run: RunRecord) -> RunRequest:
    planned = run.plan()
    found = dict(planned["circumstance"])
    if found.get("changed") is not None:
        found["changed"] = tuple(found["changed"])
    return RunRequest(Asked(**planned["asked"]), Circumstance(**found))


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old = {stage["name"]: stage for stage in before.get("stages", ())}
    new = {stage["name"]: stage for stage in now["stages"]}
    # Through JSON a tuple is a list.
    names = [name for name in {**old, **new} if _plain(old.get(name)) != _plain(new.get(name))]
    return names or ["the versions of Shipway"]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
