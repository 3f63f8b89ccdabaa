"""`shipway pipeline report`: what the stages of a run found, in one report."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.config.environment import process_environment
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import NotFoundError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.pipeline_parts import Pipelines
from shipway.entrypoints.stages.notify import Notify
from shipway.entrypoints.stages.work.notify import tell as tell_others
from shipway.entrypoints.wiring import load
from shipway.pipeline.findings import RunFindings
from shipway.services.pipeline_reports.forms import FORMATS, rendered
from shipway.services.pipeline_reports.notices import Notice
from shipway.services.pipeline_reports.runs import found_run


def report(
    run: Annotated[str, typer.Argument(help="The run, or the end of its id; by default the last one.")] = "",
    file_format: Annotated[str, typer.Option("--format", "-f", help=f"{', '.join(FORMATS)}.")] = "terminal",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write instead of stdout.")] = None,
    tell: Annotated[
        str, typer.Option("--tell", metavar="STAGE", help="Send it as this stage with `uses: notify` is set to.")
    ] = "",
    *,
    jobs: Annotated[
        bool, typer.Option("--jobs", help="Of the results that the jobs of a CI system handed on.")
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Render what a run found; nothing is run again.

    Exit code 0 whatever the verdict was: `shipway pipeline run` judges.
    """
    del debug
    form = "json" if as_json else file_format
    if out is not None:
        require_writable_file(out, "--out")
    found = Pipelines.of(load(project))
    runs = found.runs
    known = [runs.get(run)] if run else runs.all()[:1]
    if not known and not jobs:
        raise NotFoundError("no run is kept", hint="begin one: `shipway pipeline run`")
    source = found_run(found.graph, found.loaded.root, None if jobs else known[0], found.folder / "results")
    if tell:
        typer.echo(f"{tell}: {anyio.run(_told, found, source, tell)}")
        return
    parts = rendered(source, form)
    if out is None:
        for part in parts:
            typer.echo(part, nl=False)
        return
    with explained(out, "cannot be written"):
        out.write_text("".join(parts), encoding="utf-8", errors="backslashreplace")
    typer.echo(f"{out}: {source.verdict.value}, run {source.run.run_id}")


async def _told(found: Pipelines, source: RunFindings, name: str) -> str:
    stage = found.graph.stages.get(name)
    if stage is None or stage.uses != "notify":
        raise NotFoundError(f"--tell: there is no stage {name!r} with `uses: notify`")
    wanted = Notify.model_validate(dict(stage.with_))
    title = wanted.title or found.loaded.project.app
    return await tell_others(found.loaded.root, wanted, Notice(source, title, wanted.link), process_environment())
