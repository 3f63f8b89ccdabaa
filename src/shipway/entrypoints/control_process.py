"""The control process: the API, the rollout controller and the collector of records.

Of several, one leads, one collects, and the others wait.
"""

import os
import secrets
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import uvicorn
from anyio.abc import TaskGroup

from shipway.adapters.evaluation_tools.process import run_program
from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_process.log_files import kept_small
from shipway.adapters.spool.collector import SpoolCollector
from shipway.core.errors import ConflictError
from shipway.entrypoints.api.app import control_app
from shipway.entrypoints.dataplane.server import bind
from shipway.entrypoints.quality_parts import watch_quality
from shipway.entrypoints.wiring import log_limits, opened
from shipway.rollouts.controller import RolloutController, Timing
from shipway.rollouts.ports import Ports
from shipway.services.application import Application
from shipway.services.http_processes import ProcessTarget
from shipway.services.local import LOOPBACK
from shipway.services.rollout_checks import CommandChecks, Ran
from shipway.services.rollouts import RegistryLabels
from shipway.services.running import Endpoints
from shipway.telemetry.events import leveled
from shipway.telemetry.logs import configure, logger

# A decision is worth a second; a look costs two small reads.
_TIMING = Timing(interval_s=0.25, lease_ttl_s=5.0)
_CHECK_TIMEOUT_S = 900.0
_KEPT_OUTPUT_BYTES = 1_000_000


async def run_control(project: Path | None, stop: anyio.Event) -> None:
    """Serve the API, lead rollouts and collect records until `stop`; then collect what is left."""
    configure(sys.stdout)
    async with opened(project, as_actor="control") as app:
        with kept_small(app.workspace.logs, log_limits(app.loaded)):
            await _run(app, stop)


async def _run(app: Application, stop: anyio.Event) -> None:
    collector = SpoolCollector(
        app.workspace.spool,
        app.state.records,
        lock_file=app.workspace.collector_lock,
        clock=app.clock,
        note=leveled(logger("shipway.control")),
    )
    listener = _listen(app)
    async with anyio.create_task_group() as group, anyio.create_task_group() as checking:
        controller = controller_of(app, checking)
        api = control_app(app, leading=lambda: controller.leads)
        server = _Server(uvicorn.Config(api, log_config=None, lifespan="off"))
        group.start_soon(controller.run, stop)
        group.start_soon(collector.run, stop)
        group.start_soon(_serve, server, listener)
        group.start_soon(watch_quality, app, stop, leveled(logger("shipway.control")))
        await stop.wait()
        # Whatever they would have said, nobody is there to hear it.
        checking.cancel_scope.cancel()
        server.should_exit = True


def controller_of(app: Application, group: TaskGroup) -> RolloutController:
    """Return the rollout controller of an environment; the commands that it waits for run in `group`."""
    state = app.state
    target = ProcessTarget(state.documents, app.environment)
    ports = Ports(
        documents=state.documents,
        leases=state.leases,
        audit=state.audit,
        traffic=state.snapshots,
        evidence=state.records,
        observations=state.observations,
        target=target,
        labels=RegistryLabels(app.releases, app.clock.now_s),
        checks=CommandChecks(state, app.clock, target, partial(_command, app.loaded.root), group),
    )
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return RolloutController(ports, app.clock, environment=app.environment, holder=holder, timing=_TIMING)


async def _command(root: Path, arguments: Sequence[str]) -> Ran:
    """Run this program in the project's folder, with the environment that control was started with."""
    argv = [*LocalHost().program(), *arguments]
    ended = await run_program(argv, root, os.environ, _CHECK_TIMEOUT_S, keep_bytes=_KEPT_OUTPUT_BYTES)
    return Ran(ended.code, ended.tail or ended.how, ended.output)


def _listen(app: Application) -> socket.socket:
    endpoints = Endpoints.read(app.workspace)
    port = urlsplit(endpoints.control).port if endpoints else 0
    try:
        return bind(LOOPBACK, port or 0)
    except ConflictError:
        # A second control process is a spare, not a mistake: it waits for the lease and answers on a port of its own.
        listener = bind(LOOPBACK, 0)
        logger("shipway.control").info("control_port_taken", wanted=port, taken=listener.getsockname()[1])
        return listener


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: the command owns signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield
