"""`shipway chaos`: break the project's own processes on purpose, and look whether it degrades as promised."""

from pathlib import Path
from typing import Annotated

import anyio
import orjson
import typer

from shipway.chaos.judging import whole_verdict
from shipway.chaos.plan import Kind
from shipway.chaos.plan_file import ChaosSection, ExperimentSection, read_plan
from shipway.chaos.report import as_json, lines
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import UsageError
from shipway.entrypoints.chaos_parts import KEY_VARIABLE, ChaosRequest, chaos_run
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.services.load.targets import secret_named

FaultOption = Annotated[list[Kind] | None, typer.Option(help="Make only this fault; by default all, one by one.")]
KeyOption = Annotated[str, typer.Option(help=f"Where the API key is: env:NAME or file:PATH; else ${KEY_VARIABLE}.")]


def chaos(
    plan: Annotated[Path | None, typer.Argument(help="A plan (YAML) of experiments and promises.")] = None,
    fault: FaultOption = None,
    route: Annotated[str, typer.Option(help="The route that is asked; by default the first one.")] = "",
    key: KeyOption = "",
    undo: Annotated[bool, typer.Option("--undo", help="Only undo what an earlier run left; break nothing.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    *,
    project: ProjectOption = None,
    as_json_: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Break what `up` started here, one thing after another, and look whether what is promised meanwhile holds.

    Every fault is written down first and taken away whatever happens; what a killed run left, the next one undoes.

    Exit code: 0 every promise held, 1 one was broken, 3 a fault could not be made or mended, 4 nothing was checked.
    """
    del debug
    if out is not None:
        require_writable_file(out, "--out")
    section = read_plan(plan) if plan is not None else ChaosSection()
    folder = plan.parent if plan is not None else Path()
    if fault:
        if section.experiments:
            raise UsageError("--fault: the plan has its own experiments")
        chosen = tuple(ExperimentSection(fault=kind) for kind in fault)
        section = section.model_copy(update={"experiments": chosen})
    if route:
        section = section.model_copy(update={"route": route})
    if key:
        section, folder = section.model_copy(update={"key": secret_named(key)}), Path()

    def tell(line: str) -> None:
        if not as_json_:
            typer.echo(line, err=True)

    results, undone = anyio.run(chaos_run, ChaosRequest(section, project, folder, undo, tell))
    value = as_json(results, undone)
    if out is not None:
        with explained(out, "cannot be written"):
            out.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    if undo:
        emit(value, undone or ["nothing was left"], as_json=as_json_)
        return
    emit(value, lines(results, undone), as_json=as_json_)
    raise typer.Exit(VERDICT_EXIT_CODES[whole_verdict(results)])
