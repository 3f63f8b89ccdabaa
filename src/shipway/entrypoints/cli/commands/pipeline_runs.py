"""`shipway pipeline runs|logs|clean`: what earlier runs came to, what their stages printed, and letting go of them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shipway.adapters.pipeline_store.cleaning import clean_cache
from shipway.adapters.pipeline_store.runs import RunFolder, RunFolders
from shipway.core.errors import NotFoundError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.wiring import load
from shipway.pipeline.compare import compared
from shipway.pipeline.render import duration, plain

_SHOWN_LINES = 200
_BYTES_PER_MB = 1_000_000
_UNREADABLE = "unreadable"


def list_runs(
    compare: Annotated[
        tuple[str, str] | None, typer.Option("--compare", metavar="RUN RUN", help="Show what differs between two runs.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many runs.")] = 20,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the runs that are kept, newest first, or compare two."""
    del debug
    runs = _runs(project)
    if compare is not None:
        before, now = (runs.get(run) for run in compare)
        found = compared(before.results(), now.results())
        rows = [(row.stage, row.before, row.now, "; ".join(row.differences)) for row in found]
        emit([row.to_dict() for row in found], table(("stage", "before", "now", "differences"), rows), as_json=as_json)
        return
    listed = runs.all()[:limit]
    shown = [_summary(run) for run in listed]
    for run, row in zip(listed, shown, strict=True):
        if row["verdict"] == _UNREADABLE:
            warn(f"run {run.run_id} cannot be read; remove the folder {run.path}")
    emit(
        shown,
        table(
            ("run", "begun", "verdict", "time", "stages"),
            [(s["run"], s["begun"], s["verdict"], s["time"], s["stages"]) for s in shown],
        ),
        as_json=as_json,
    )


def logs(
    stage: Annotated[str, typer.Argument(help="The stage.")],
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="The run; by default the last one.")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines from the end.")] = _SHOWN_LINES,
    attempt: Annotated[int, typer.Option("--attempt", min=0, help="Which attempt; 0 for the last one.")] = 0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what a stage printed in its last run."""
    del debug
    runs = _runs(project)
    looked_at = [runs.get(run)] if run else runs.all()
    files, of = next(((files, of) for of in looked_at if (files := of.log_files(stage))), ([], None))
    if of is None:
        known = sorted({name for one in looked_at for name in one.results()})
        raise NotFoundError(
            f"stage {stage!r} has printed nothing in {run or 'the runs that are kept'}",
            hint=f"stages there: {', '.join(known) or 'none'}",
        )
    wanted = f"{stage}.{attempt}.log"
    file = next((file for file in files if file.name == wanted), None) if attempt else files[-1]
    if file is None:
        kept = ", ".join(file.name.removesuffix(".log").rpartition(".")[2] for file in files)
        raise NotFoundError(f"attempt {attempt} of stage {stage!r} has printed nothing", hint=f"these have: {kept}")
    text = file.read_bytes().decode(errors="replace").splitlines()[-lines:]
    body = {"run": of.run_id, "stage": stage, "file": str(file), "lines": text}
    emit(body, [plain(line) for line in text], as_json=as_json)


def clean(
    keep: Annotated[int, typer.Option("--keep", min=0, help="How many of the last runs to keep.")] = 10,
    max_mb: Annotated[int, typer.Option("--max-mb", min=0, help="How large the cache may stay.")] = 1000,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let go of old runs, and of what the cache has not used for longest; stages run again where they must."""
    del debug
    runs = _runs(project)
    old = [run for run in runs.all()[keep:] if not run.under_way]
    for run in old:
        runs.remove(run)
    freed_bytes = clean_cache(runs.folder.parent / "cache", max_mb * _BYTES_PER_MB)
    said = f"removed {len(old)} runs and {freed_bytes / _BYTES_PER_MB:.1f} MB of the cache"
    emit({"runs": len(old), "freed_bytes": freed_bytes}, [said], as_json=as_json)


def _runs(project: Path | None) -> RunFolders:
    return RunFolders(load(project).root / ".shipway" / "pipeline" / "runs")


def _summary(run: RunFolder) -> dict[str, Any]:
    report, results = run.report(), run.results()
    begun = _time(run.plan().get("begun_at_s"))
    took_s = report.get("duration_s")
    return {
        "run": run.run_id,
        "begun": begun or "-",
        "verdict": _became(run, report) if begun else _UNREADABLE,
        "time": duration(took_s) if isinstance(took_s, int | float) else "-",
        "stages": f"{sum(r.attempts > 0 and not r.known for r in results.values())} run of {len(results)}",
    }


def _became(run: RunFolder, report: Mapping[str, Any]) -> str:
    if run.finished:
        return str(report.get("verdict", _UNREADABLE))
    return "running" if run.under_way else "interrupted"


def _time(at_s: object) -> str:
    try:
        return datetime.fromtimestamp(float(at_s), UTC).strftime("%Y-%m-%d %H:%M:%S")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
