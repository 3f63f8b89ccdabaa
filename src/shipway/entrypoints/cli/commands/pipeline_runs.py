"""`shipway pipeline runs|logs|clean`: what earlier runs came to, what their stages printed, and letting go of them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shipway.adapters.pipeline_store.cleaning import clean_cache
from shipway.adapters.pipeline_store.runs import RunFolder, RunFolders
from shipway.core.errors import NotFoundError, UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.wiring import load
from shipway.pipeline.compare import compared
from shipway.pipeline.render import duration, plain

_SHOWN_LINES = 200
_BYTES_PER_MB = 1_000_000
_RUN_ID_CHARS = 8


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
    shown = [_summary(run) for run in runs.all()[:limit]]
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
    text = files[-1].read_bytes().decode(errors="replace").splitlines()[-lines:]
    body = {"run": of.run_id, "stage": stage, "file": str(files[-1]), "lines": text}
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
    old = runs.all()[keep:]
    for run in old:
        runs.remove(run)
    freed_bytes = clean_cache(runs.folder.parent / "cache", max_mb * _BYTES_PER_MB)
    said = f"removed {len(old)} runs and {freed_bytes / _BYTES_PER_MB:.1f} MB of the cache"
    emit({"runs": len(old), "freed_bytes": freed_bytes}, [said], as_json=as_json)


def _runs(project: Path | None) -> RunFolders:
    return RunFolders(load(project).root / ".shipway" / "pipeline" / "runs")


def _summary(run: RunFolder) -> dict[str, Any]:
    report, results = run.report(), run.results()
    begun_s = run.plan().get("begun_at_s")
    if not isinstance(begun_s, int | float):
        raise UsageError(f"{run.path / 'plan.json'} cannot be read", hint="remove that folder")
    return {
        "run": run.run_id,
        "begun": datetime.fromtimestamp(begun_s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "verdict": report.get("verdict", "interrupted"),
        "time": duration(report["duration_s"]) if "duration_s" in report else "-",
        "stages": f"{sum(r.attempts > 0 and not r.known for r in results.values())} run of {len(results)}",
    }
