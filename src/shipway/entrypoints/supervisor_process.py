"""The supervisor process: what `shipway up` detaches."""

from pathlib import Path

import anyio

from shipway.adapters.local_process.spawner import LocalSpawner
from shipway.entrypoints.wiring import opened
from shipway.services.http_processes import HttpProcesses
from shipway.services.local import Local
from shipway.services.supervise import supervise


async def run_supervisor(local: Local, project: Path | None, stop: anyio.Event) -> None:
    """Keep the project's processes running until `stop`; the store is opened only for routes of kind http."""
    if not any(route.kind == "http" for route in local.loaded.project.routes.values()):
        await supervise(local, LocalSpawner(), None, stop)
        return
    async with opened(project, as_actor="supervisor") as app:
        await supervise(local, LocalSpawner(), HttpProcesses(app, local.host, local.probe), stop)
