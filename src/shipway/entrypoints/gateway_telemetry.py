"""What a gateway worker says about its requests: metrics, log lines, traces. Built from the project file's sections."""

import contextlib
import random
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from shipway import __version__
from shipway.adapters.otlp.file import PrivateFile, TraceFile
from shipway.adapters.otlp.http import OtlpHttpTarget
from shipway.config.environment import process_environment
from shipway.config.secrets import resolve_secret
from shipway.core.record import ServedRequest
from shipway.gateway.app import Gateway
from shipway.gateway.ports import RequestLogger
from shipway.services.application import Application
from shipway.telemetry.events import leveled
from shipway.telemetry.export import SpanTarget, TraceExport
from shipway.telemetry.families import Labels
from shipway.telemetry.lines import LineWriter, to_descriptor
from shipway.telemetry.logs import configure, logger
from shipway.telemetry.metrics import DataPlaneMetrics
from shipway.telemetry.otlp import Source
from shipway.telemetry.processes import ProcessReader
from shipway.telemetry.request_log import RequestLog
from shipway.telemetry.spans import CONVENTIONS, SpanMaker
from shipway.telemetry.tracing import Tracer
from shipway.telemetry.worker_counts import WorkerCounts

_STDOUT = 1
# The names of the GenAI conventions where they have one for an engine.
_PROVIDERS = {"openai": "openai", "azure": "azure.ai.openai"}


@dataclass(frozen=True, slots=True)
class GatewayTelemetry:
    """The parts; `counts.run` belongs beside the server."""

    metrics: DataPlaneMetrics
    counts: WorkerCounts
    log: RequestLogger
    tracer: Tracer | None

    def count_feedback(self, route: str, release: str, rating: str) -> None:
        """Count a rating: up, down or neutral."""
        self.metrics.count("shipway_feedback", route, release, rating)

    def watch(self, gateway: Gateway, workspace_run: Path) -> None:
        """Read at each scrape what the gateway and the supervisor know."""
        metrics = self.metrics
        metrics.inflight.set_function(lambda: gateway.at_work)
        metrics.queue_depth.set_function(lambda: gateway.places.waiting)
        metrics.gauge("shipway_parked").set_function(lambda: gateway.places.parked)
        metrics.gauge("shipway_streams_open").set_function(lambda: gateway.calls.streams_open)
        metrics.gauge("shipway_breaker_state").set_function(
            lambda: {(engine,): float(state) for engine, state in gateway.calls.breaker_states().items()}
        )
        metrics.gauge("shipway_engine_retries").set_function(lambda: gateway.calls.retried)
        metrics.gauge("shipway_engine_hedges").set_function(
            lambda: {(outcome,): float(count) for outcome, count in gateway.calls.hedges.items()}
        )
        shadow = gateway.shadow
        if shadow is not None:
            metrics.gauge("shipway_shadow").set_function(
                lambda: {(outcome,): float(count) for outcome, count in dict(shadow.queue.counts).items()}
            )
        metrics.gauge("shipway_process_restarts").set_function(lambda: _restarts(workspace_run / "processes.json"))


@contextlib.asynccontextmanager
async def gateway_telemetry(app: Application, worker: str, process: str) -> AsyncIterator[GatewayTelemetry]:
    """Open what is written, and write the rest at the end; `worker` outlives restarts, `process` does not."""
    own = app.project.logging
    metrics = DataPlaneMetrics(worker)
    counts = WorkerCounts(app.workspace.run / "metrics", worker, metrics.tables, ProcessReader())
    metrics.show_also(counts)
    lines = LineWriter(to_descriptor(_STDOUT))
    metrics.gauge("shipway_log_lines").set_function(
        lambda: {("written",): float(lines.written), ("dropped",): float(lines.dropped)}
    )
    questions = PrivateFile(app.workspace.home / "restricted" / f"questions-{worker}.jsonl")
    restricted = LineWriter(questions.append) if own.question == "restricted" else None
    export = _export(app, metrics, worker, process)
    sys.stdout.flush()
    configure(lines.text_stream(), level=own.level)
    for writer in (lines, restricted, export):
        if writer is not None:
            writer.start()
    try:
        yield GatewayTelemetry(metrics, counts, _log(app, lines, restricted), _tracer(app, export))
    finally:
        configure(sys.stdout, level=own.level)
        for writer in (export, restricted, lines):
            if writer is not None:
                writer.close()
        counts.write()


def _log(app: Application, lines: LineWriter, restricted: LineWriter | None) -> RequestLogger:
    own = app.project.logging
    if not own.requests:
        return _unlogged
    log = RequestLog(lines.append, question=own.question, restricted=restricted.append if restricted else None)
    return log.write


def _unlogged(_record: ServedRequest, /, *, question: str = "", trace_id: str = "") -> None:
    """Write no line."""


def _tracer(app: Application, export: TraceExport | None) -> Tracer | None:
    if export is None:
        return None
    own = app.project.telemetry.traces
    # Ids have to be unique, not secret.
    source = random.Random(secrets.randbits(128))  # noqa: S311
    return Tracer(
        export.take,
        ratio=own.ratio,
        uniform=source.random,
        random_bits=source.getrandbits,
        trust_caller=own.trust_caller,
    )


def _export(app: Application, metrics: DataPlaneMetrics, worker: str, process: str) -> TraceExport | None:
    own = app.project.telemetry.traces
    if own.exporter == "none":
        return None
    conventions = CONVENTIONS[own.conventions]
    resource = {
        "service.name": app.project.app,
        "service.version": __version__,
        "service.instance.id": process,
        "deployment.environment.name": app.environment,
    }
    source = Source(resource, __version__, conventions.schema_url)
    providers = {entry.model: _PROVIDERS.get(entry.engine, entry.engine) for entry in app.project.models.values()}
    note = leveled(logger("shipway.traces"))
    export = TraceExport(_target(app, source, worker), SpanMaker(conventions, providers), note=note)
    metrics.gauge("shipway_traces_received").set_function(lambda: export.received)
    metrics.gauge("shipway_traces_exported").set_function(lambda: export.exported)
    metrics.gauge("shipway_traces_pending").set_function(lambda: export.pending)
    metrics.gauge("shipway_traces_dropped").set_function(
        lambda: {(reason,): float(count) for reason, count in dict(export.dropped).items()}
    )
    return export


def _target(app: Application, source: Source, worker: str) -> SpanTarget:
    own = app.project.telemetry.traces
    if own.endpoint is None:
        return TraceFile(PrivateFile(app.workspace.home / "traces" / f"{worker}.jsonl"), source)
    environ = process_environment()
    headers = {name: resolve_secret(ref, root=app.loaded.root, environ=environ) for name, ref in own.headers.items()}
    return OtlpHttpTarget(own.endpoint, source, headers=headers)


def _restarts(path: Path) -> Mapping[Labels, float]:
    """Return the supervisor's restarts by process; nothing when none runs."""
    try:
        processes = orjson.loads(path.read_bytes())["processes"]
        return {(str(process["name"]),): float(process["restarts"]) for process in processes}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
