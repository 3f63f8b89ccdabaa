"""A run that is kept, or what the jobs of a CI system left, as one report's source. `pipeline report` asks."""

from pathlib import Path

from shipway.core.errors import NotFoundError
from shipway.pipeline.findings import RunFindings
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.model import RunReport, StageResult, StageState
from shipway.pipeline.ports import RunRecord
from shipway.services.pipeline_jobs import JobResults
from shipway.services.pipeline_reports.reading import read_findings


def found_run(graph: StageGraph, root: Path, record: RunRecord | None, handed_on: Path) -> RunFindings:
    """Return what a run found, or without one what jobs handed on. Blocks.

    Raises:
        NotFoundError: no job left a result.
        IntegrityError: what a job left is no result.
    """
    run = _of_jobs(graph, handed_on) if record is None else _of_record(graph, record)
    files = {name: stage.report for name, stage in graph.stages.items() if stage.report}
    return read_findings(run, root, files)


def _of_record(graph: StageGraph, record: RunRecord) -> RunReport:
    report, results = record.report(), record.results()
    if not results and report.get("stages"):
        results = {row["name"]: StageResult.from_dict(row) for row in report["stages"]}
    for row in report.get("stages", ()):
        results.setdefault(row["name"], StageResult.from_dict(row))
    # Stages in today's order; what is no stage any more stands at the end.
    ordered = [*(name for name in graph.stages if name in results), *(n for n in results if n not in graph.stages)]
    begun_s = record.plan().get("begun_at_s")
    started_s = float(report.get("started_at_s") or (begun_s if isinstance(begun_s, int | float) else 0.0))
    missing = () if report else tuple(_never(name) for name in graph.stages if name not in results)
    return RunReport(
        record.run_id,
        started_s,
        float(report.get("duration_s", 0.0)),
        (*(results[name] for name in ordered), *missing),
    )


def _of_jobs(graph: StageGraph, folder: Path) -> RunReport:
    jobs = JobResults(folder)
    found = {name: result for name in graph.stages if (result := jobs.read(name)) is not None}
    if not found:
        raise NotFoundError(f"no job left a result in {folder}", hint="let this job fetch that folder of the others")
    results = tuple(
        found.get(name)
        or StageResult(name, StageState.SKIPPED, allowed=not stage.when.always, problem="its job left no result")
        for name, stage in graph.stages.items()
    )
    # Files of another machine: when they were written says nothing here.
    return RunReport("ci", 0.0, sum(result.duration_s for result in found.values()), results)


def _never(name: str) -> StageResult:
    return StageResult(name, StageState.CANCELLED, problem="the run was interrupted before")
