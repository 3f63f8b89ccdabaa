"""`shipway restart`: new gateway processes for old ones, while they serve."""

from functools import partial
from typing import Annotated

import anyio
import typer

from shipway.adapters.local_process.host import LocalHost
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, warn
from shipway.entrypoints.wiring import site
from shipway.services.config_board import ConfigBoard
from shipway.services.restarting import RestartCommand


def restart(
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds that each new process has until it serves.")
    ] = 60.0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Replace the gateway's processes one by one: a new one serves before the old one finishes its requests and ends.

    A new process that does not get that far ends the restart; the old one stays. Engines and control are not touched.
    """
    del debug
    found = site(project, warn)
    if ConfigBoard(found.workspace, LocalHost()).is_edited(found.workspace.root, found.record.environment):
        warn(
            "the project file was changed since `shipway up` or `shipway reload`; new processes obey it after a reload"
        )
    command = RestartCommand(found.running)

    def tell(line: str) -> None:
        if not as_json:
            typer.echo(line, err=True)

    done = anyio.run(partial(command.restart, within_s=timeout_s, tell=tell))
    for name in done.killed:
        warn(f"the former {name} did not end within server.drain_s and was killed; its last requests were cut")
    count = len(done.replaced)
    lines = [f"{count} gateway process{'es' if count > 1 else ''} replaced"]
    emit({"replaced": done.replaced, "killed": done.killed}, lines, as_json=as_json)
