"""`shipway eval report`: an evaluation that is there, in another format."""

import json
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.core.disk import require_writable_file
from shipway.core.errors import UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.wiring import opened
from shipway.evals.report_files import check_form, rendered, write_source
from shipway.evals.report_json import read_json_report
from shipway.evals.report_schema import report_schema
from shipway.evals.report_source import ReportSource
from shipway.services.stored_reports import stored_report


def report(
    evaluation: Annotated[
        str,
        typer.Argument(help="An evaluation's id, an evaluated release, a run's folder, or the file of a JSON report."),
    ] = "",
    file_format: Annotated[
        str, typer.Option("--format", "-f", help="terminal, json, junit, sarif, markdown or html.")
    ] = "terminal",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write instead of stdout.")] = None,
    *,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of --format json.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Render an evaluation that is there; nothing is asked or judged again.

    Exit code 0 whatever the verdict was: `shipway gate run` judges.
    """
    del debug
    if schema:
        typer.echo(json.dumps(report_schema(), indent=2))
        return
    form = "json" if as_json else file_format
    check_form(form)
    if not evaluation:
        raise UsageError("no evaluation named", hint="name an evaluation, a release or the file of a JSON report")
    if out is not None:
        require_writable_file(out, "--out")

    async def act() -> None:
        source = await _found(evaluation, project)
        if out is None:
            for part in rendered(source, form):
                typer.echo(part, nl=False)
            return
        for error in await write_source(source, {form: out}):
            raise error
        typer.echo(f"{out}: {source.verdict.value}, {source.release} against {source.against}")

    anyio.run(act)


async def _found(name: str, project: Path | None) -> ReportSource:
    path = anyio.Path(name)
    if await path.is_dir() and await (path / "report.json").is_file():
        path /= "report.json"
    if await path.is_file():
        return read_json_report(await path.read_bytes(), str(path))
    async with opened(project) as app:
        return await stored_report(app, name)
