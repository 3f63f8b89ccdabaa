"""`shipway supervise`: what `shipway up` detaches."""

import anyio

from shipway.entrypoints.cli.commands.local import local_of
from shipway.entrypoints.cli.foreground import until_signalled
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.supervisor_process import run_supervisor


def supervise(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Keep engines, gateway, control and the app's own processes running until SIGTERM."""
    del debug
    anyio.run(until_signalled, run_supervisor, local_of(project), project)
    emit({"ended": "supervisor"}, ["supervisor ended"], as_json=as_json)
