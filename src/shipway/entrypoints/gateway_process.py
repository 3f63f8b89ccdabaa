"""The gateway process: one worker of the data plane."""

import contextlib
import hashlib
import os
import random
import secrets
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_process.log_files import kept_small
from shipway.adapters.spool.spool import RecordSpool
from shipway.config.environment import process_environment
from shipway.core.disk import explained
from shipway.core.snapshot import Snapshot
from shipway.entrypoints.dataplane.place import Place
from shipway.entrypoints.dataplane.server import ServerOptions, run, serve
from shipway.entrypoints.gateway_kept import KeepingParts
from shipway.entrypoints.gateway_limits import opened_counters
from shipway.entrypoints.gateway_table import TableParts, Tables, open_table
from shipway.entrypoints.gateway_telemetry import gateway_telemetry
from shipway.entrypoints.wiring import load_in_force, log_limits, opened
from shipway.gateway.app import Gateway, GatewayParts
from shipway.gateway.model import GatewaySettings, ModelPrice
from shipway.gateway.serving import Serving
from shipway.gateway.watch import SnapshotWatcher
from shipway.services.application import Application
from shipway.services.config_board import ConfigBoard
from shipway.services.config_follower import ConfigFollower
from shipway.services.load_failures import LoadFailures, ReportingLoader
from shipway.services.local import gateway_worker
from shipway.services.running import Endpoints
from shipway.telemetry.events import leveled
from shipway.telemetry.logs import configure, logger

_HASH_KEY_FILE = "question-hash.key"
_HASH_KEY_BYTES = 32


def run_gateway(project: Path | None, host: str | None, port: int | None, worker: int) -> None:
    """Serve until SIGTERM, then finish the requests in flight."""
    run(_serve(project, host, port, worker))


async def _serve(project: Path | None, host: str | None, port: int | None, worker: int) -> None:
    configure(sys.stdout)
    note = leveled(logger("shipway.gateway"))
    loaded, revision = load_in_force(project)
    async with opened(project, as_actor="gateway", loaded=loaded) as app, contextlib.AsyncExitStack() as stack:
        name = f"gateway-{worker}-{os.getpid()}"
        stack.enter_context(kept_small(app.workspace.logs, log_limits(loaded)))
        address = _address(app, host, port)
        engines = HttptoolsEngineClient()
        telemetry = await stack.enter_async_context(gateway_telemetry(app, gateway_worker(worker), name))
        metrics = telemetry.metrics
        spool = RecordSpool(app.workspace.spool, worker=name, clock=app.clock, count=metrics.count_records)
        serving = Serving(note)
        metrics.records_pending.set_function(lambda: spool.pending)
        metrics.snapshot_version.set_function(lambda: serving.current.snapshot.version if serving.current else 0)
        uniform = random.Random(secrets.randbits(64)).random  # noqa: S311 - jitter, not a secret
        counters = await stack.enter_async_context(opened_counters(app, note=note, uniform=uniform))
        parts = TableParts(
            GatewayParts(
                engines=engines,
                records=spool,
                metrics=metrics,
                log=telemetry.log,
                note=note,
                clock=app.clock,
                uniform=uniform,
                tracer=telemetry.tracer,
            ),
            counters,
            KeepingParts(serving, note, gateway_worker(worker), telemetry.count_feedback),
            lambda of: gateway_settings(of, name),
        )
        table = await open_table(app, parts)
        failures = LoadFailures(app.state.documents, app.environment)
        reporting = partial(ReportingLoader, failures=failures, worker=gateway_worker(worker), clock=app.clock)
        watcher = SnapshotWatcher(
            EnvironmentSnapshots(app),
            reporting(table.runtimes),
            app.state.snapshots,
            serving,
            # Without the pid: a restarted worker takes its predecessor's place, so nobody waits for the dead one.
            worker=gateway_worker(worker),
            clock=app.clock,
            note=note,
        )
        place = Place.of(process_environment(), lambda: serving.current is not None or serving.unwritten)
        told = app.project.server
        options = ServerOptions(told.workers, told.drain_s, place=place, outbox=engines.outbox)
        board = ConfigBoard(app.workspace, LocalHost())
        gateway = Gateway(table.parts, serving, table.settings)
        tables = Tables(table, parts, gateway, watcher, board, reporting)
        follower = ConfigFollower(board, name, revision, tables.prepare, clock=app.clock, note=note)
        try:
            telemetry.watch(gateway, app.workspace.run)
            beside = (watcher.run, spool.run, counters.run, telemetry.counts.run, lambda: tables.run(follower.run))
            await serve(gateway, *address, options=options, beside=beside, flush=spool.close)
        finally:
            await serving.close()
            await engines.close()
            await tables.close()


class EnvironmentSnapshots:
    """The newest snapshot of the application's environment; implements `gateway.ports.SnapshotSource`."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def read(self) -> Snapshot:
        """Return the snapshot."""
        return await self._app.state.snapshots.read(self._app.environment)

    async def read_heartbeat(self) -> int | None:
        """Return the rollout leader's beat."""
        lease = await self._app.state.leases.read(f"rollouts/{self._app.environment}")
        return lease.beat if lease else None


def gateway_settings(app: Application, worker: str) -> GatewaySettings:
    """Return the gateway's settings from the project file."""
    server, routing = app.project.server, app.project.routing
    prices = {
        entry.model: ModelPrice(entry.price.input, entry.price.cache_read, entry.price.output, entry.price.cache_write)
        for entry in app.project.models.values()
    }
    return GatewaySettings(
        worker=worker,
        max_body_bytes=server.max_body_bytes,
        max_reply_bytes=server.max_reply_bytes,
        max_active=server.max_active,
        max_queued=server.max_queued,
        park_s=server.park_s,
        deadline_s=server.request_timeout_s,
        llm_deadline_s=server.llm_timeout_s,
        stream_deadline_s=server.stream_timeout_s,
        max_attempts=routing.retries.attempts,
        retry_share=routing.retries.max_share,
        hedge_share=routing.hedging.max_share if routing.hedging.on else 0.0,
        hedge_max_tokens=routing.hedging.max_tokens,
        metrics_public=app.project.telemetry.metrics_public,
        keep_question=app.project.logging.question in {"mask", "restricted"},
        question_hash_key=_hash_key(app.workspace.home / _HASH_KEY_FILE),
        prices=prices,
        deployment={"environment": app.environment, "app": app.project.app},
    )


def _address(app: Application, host: str | None, port: int | None) -> tuple[str, int]:
    endpoints = Endpoints.read(app.workspace)
    chosen = urlsplit(endpoints.gateway).port if endpoints else None
    return host or app.project.server.host, port if port is not None else chosen or app.project.server.port


def _hash_key(path: Path) -> bytes:
    """Return this installation's key for hashing questions: an unkeyed hash could be guessed from a list."""
    with explained(path, "cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size < _HASH_KEY_BYTES:
            _write_hash_key(path)
    return hashlib.sha256(path.read_bytes()).digest()


def _write_hash_key(path: Path) -> None:
    # Written beside its place: a full disk must not leave an empty key behind, which everybody could guess.
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_HASH_KEY_BYTES))
        if path.exists():
            draft.replace(path)
        else:
            with contextlib.suppress(FileExistsError):  # another worker was first; all use its key
                path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
