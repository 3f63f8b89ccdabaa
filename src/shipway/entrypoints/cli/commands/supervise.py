"""`shipway supervise`: what `shipway up` detaches."""

from functools import partial

import anyio

from shipway.entrypoints.cli.commands.local import local_of
from shipway.entrypoints.cli.foreground import until_signalled
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.supervisor_process import run_supervisor


def supervise(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Keep engines, gateway, control and the app's own processes running until SIGTERM; SIGHUP is `shipway reload`."""
    del debug
    local = local_of(project)
    command = [*local.host.program(), "reload", "--project", str(local.loaded.root)]
    # What it says goes where the supervisor's own lines go.
    reload = partial(anyio.run_process, command, check=False, stdout=None, stderr=None)
    anyio.run(partial(until_signalled, run_supervisor, local, project, on_hangup=reload))
    emit({"ended": "supervisor"}, ["supervisor ended"], as_json=as_json)
