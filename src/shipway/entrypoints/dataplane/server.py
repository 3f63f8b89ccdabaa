"""Serves the gateway on uvloop until it is told to stop; the wiring calls `run(serve(...))` in each worker process."""

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from shipway.adapters.httptools_server.connection import Patience
from shipway.adapters.httptools_server.server import HttpServer
from shipway.core.errors import ConflictError
from shipway.gateway.app import Gateway

_BACKLOG = 2048
_LAST_RECORDS_S = 2.0
_GC_THRESHOLDS = (20_000, 20, 100)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server listens and stops.

    `workers` above 1 means that this process is one of several on the port (SO_REUSEPORT). After SIGTERM `/ready` says
    503 for `lame_duck_s` while requests are still taken; then nothing is accepted and running ones have `drain_s`.
    """

    workers: int = 1
    drain_s: float = 30.0
    lame_duck_s: float = 0.0
    max_connections: int = 4096
    keep_alive_s: float = 75.0
    head_s: float = 10.0


async def serve(
    app: Gateway,
    host: str,
    port: int,
    *,
    options: ServerOptions | None = None,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    flush: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, drain, flush, return.

    `beside` runs for as long as requests are served (the snapshot watcher, the record flusher); `flush` after the last
    request.

    Raises:
        ConflictError: the port is in use.
    """
    options = options or ServerOptions()
    stop = asyncio.Event()
    _settle_garbage_collector()
    with _signals_set(stop):
        # Last: who sees it listening may tell it to stop.
        listener = bind(host, port, shared=options.workers > 1)
        await serve_on(listener, app, stop, options=options, beside=beside, flush=flush)


async def serve_on(
    listener: socket.socket,
    app: Gateway,
    stop: asyncio.Event,
    *,
    options: ServerOptions | None = None,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
    flush: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Serve on a bound socket until `stop` is set, drain, flush, return."""
    options = options or ServerOptions()
    patience = Patience(keep_alive_s=options.keep_alive_s, head_s=options.head_s)
    server = HttpServer(app, max_connections=options.max_connections, patience=patience)
    async with _running(beside):
        await server.start(listener)
        await stop.wait()
        app.drain()
        await asyncio.sleep(options.lame_duck_s)
        await server.stop(options.drain_s, _LAST_RECORDS_S)
    if flush is not None:
        await flush()


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening address with TCP_NODELAY, which accepted connections inherit.

    Raises:
        ConflictError: the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise
        hint = f"Stop the other process (`ss -ltnp 'sport = :{port}'` names it) or choose another port."
        raise ConflictError(f"port {port} on {host} is in use", hint=hint) from error
    listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return listener


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _settle_garbage_collector() -> None:
    """Leave what the start made out of every later collection, and collect less often.

    A request leaves no cycles behind, so looking for them every 700 objects cost a quarter of its processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


@contextlib.contextmanager
def _signals_set(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def _running(beside: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    """Run coroutines beside the server; one that fails ends the process, because serving blind is worse."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(start()) for start in beside]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
