"""`shipway engine`: an embedded engine in the foreground."""

from typing import Annotated

import typer

from shipway.core.errors import NotFoundError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.engine_process import run_project_engine
from shipway.entrypoints.wiring import load


def engine(
    alias: Annotated[str, typer.Argument(help="A key of `models` whose engine is embedded.")],
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of the port `up` chose.")] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an embedded engine."""
    del debug
    loaded = load(project)
    if alias not in loaded.project.models:
        known = ", ".join(sorted(loaded.project.models)) or "none"
        raise NotFoundError(f"model {alias!r} is not in models (it has {known})")
    run_project_engine(loaded, alias, port)
    emit({"ended": f"engine {alias}"}, [f"engine {alias} ended"], as_json=as_json)
