"""The engine process: one embedded engine of the project."""

import os
from urllib.parse import urlsplit

from shipway.adapters.echo.app import run_echo
from shipway.adapters.llamacpp.server import run_engine
from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_process.log_files import kept_small
from shipway.config.loading import LoadedProject
from shipway.core.errors import ConflictError, UsageError
from shipway.entrypoints.model_files import LocalModelFiles
from shipway.entrypoints.wiring import log_limits
from shipway.services.application import Workspace
from shipway.services.local import LOOPBACK
from shipway.services.running import Endpoints


def run_project_engine(loaded: LoadedProject, alias: str, port: int | None) -> None:
    """Run the embedded engine of a model alias until SIGTERM.

    Raises:
        UsageError: its engine is not an embedded one, or nobody chose a port.
        ConflictError: the port is in use.
        NotFoundError: the model's file is not there.
    """
    endpoints = Endpoints.read(Workspace(loaded.root))
    url = endpoints.engines.get(alias) if endpoints else None
    chosen = port if port is not None else urlsplit(url).port if url else None
    if chosen is None:
        raise UsageError(f"engine {alias}: no port", hint="give --port, or let `shipway up` start it")
    _require_free(alias, chosen)
    with kept_small(Workspace(loaded.root).logs, log_limits(loaded)):
        _run(loaded, alias, chosen)


def _run(loaded: LoadedProject, alias: str, chosen: int) -> None:
    entry = loaded.project.models[alias]
    threads = entry.threads or max(1, (os.cpu_count() or 2) - 1)
    if entry.engine == "llamacpp":
        path = LocalModelFiles().path(entry.model, loaded.root)
        run_engine(path, LOOPBACK, chosen, alias=entry.model, ctx=entry.max_ctx, threads=threads)
    elif entry.engine == "echo":
        run_echo(LOOPBACK, chosen)
    else:
        raise UsageError(f"engine {alias}: {entry.engine!r} runs elsewhere; there is nothing to start")


def _require_free(alias: str, port: int) -> None:
    try:
        LocalHost().require_port(LOOPBACK, port)
    except ConflictError as error:
        raise ConflictError(
            f"engine {alias}: port {port} is in use",
            hint="`shipway status` shows whether `up` runs this engine already; --port 0 takes a free port",
        ) from error
