"""The supervisor process: what `shipway up` detaches."""

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from shipway.adapters.local_process.inheritance import seat
from shipway.adapters.local_process.log_files import kept_small
from shipway.adapters.local_process.spawner import LocalSpawner
from shipway.entrypoints.wiring import log_limits, opened
from shipway.operations.supervision import Seat
from shipway.services.http_processes import HttpProcesses
from shipway.services.local import Local
from shipway.services.running import Endpoints
from shipway.services.start_failures import StartFailures, StartWatch
from shipway.services.supervise import supervise


async def run_supervisor(local: Local, project: Path | None, stop: anyio.Event) -> None:
    """Keep the project's processes running until `stop`; the store is opened only for routes of kind http."""
    # The app's own processes know nothing of log files that are full.
    with kept_small(local.workspace.logs, log_limits(local.loaded), all_of_them=True):
        await _run(local, project, stop)


async def _run(local: Local, project: Path | None, stop: anyio.Event) -> None:
    reserve = partial(gateway_seats, local)
    if not any(route.kind == "http" for route in local.loaded.project.routes.values()):
        await supervise(local, LocalSpawner(), None, stop, reserve)
        return
    async with opened(project, as_actor="supervisor") as app:
        starts = StartWatch(StartFailures(app.state.documents, app.environment), app.clock)
        await supervise(local, LocalSpawner(), HttpProcesses(app, local.host, local.probe, starts), stop, reserve)


def gateway_seats(local: Local) -> list[Seat]:
    """Return a seat with the gateway's address for each worker; none listens yet.

    A socket each, because the kernel then spreads connections evenly; a worker that waits on a socket of all takes a
    whole burst.

    Raises:
        ConflictError: the port is in use.
    """
    endpoints = Endpoints.read(local.workspace)
    port = urlsplit(endpoints.gateway).port if endpoints is not None else None
    if not port:
        return []
    server = local.loaded.project.server
    return [seat(server.host, port, shared=server.workers > 1) for _ in range(server.workers)]
