"""`shipway serve`: the gateway in the foreground."""

from typing import Annotated

import typer

from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.gateway_process import run_gateway


def serve(
    host: Annotated[str | None, typer.Option(help="Instead of server.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of the port `up` chose.")] = None,
    worker: Annotated[int, typer.Option(min=0, help="This worker's number, when several share the port.")] = 0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the gateway until SIGTERM; requests in flight are finished first."""
    del debug
    run_gateway(project, host, port, worker)
    emit({"ended": "gateway"}, ["gateway ended"], as_json=as_json)
