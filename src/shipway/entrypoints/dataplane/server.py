"""Serves the gateway on uvloop until it is told to stop; the wiring calls `run(serve(...))` in each worker process."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvloop

from shipway.adapters.httptools_server.connection import Patience
from shipway.adapters.httptools_server.server import HttpServer
from shipway.adapters.local_process.inheritance import listening
from shipway.entrypoints.dataplane.place import Place
from shipway.gateway.app import Gateway
from shipway.gateway.outbox import Outbox

_BACKLOG = 2048
_LAST_RECORDS_S = 2.0
_LAST_ANSWERS_S = 2.0
_GC_THRESHOLDS = (20_000, 20, 100)
_SWITCH_S = 0.0001


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How the server listens and stops.

    `workers` above 1 means that this process is one of several on the port (SO_REUSEPORT). After SIGTERM `/ready` says
    503 for `lame_duck_s` while requests are still taken; then nothing is accepted and running ones have `drain_s`.
    Those that wait for a parked route are refused with 503, at once or, where a successor serves, before the time ends.
    Connections that wait for a request are closed after `idle_grace_s`. `place` is what a supervisor gave this process,
    `outbox` what the engines' client writes through.
    """

    workers: int = 1
    drain_s: float = 30.0
    lame_duck_s: float = 0.0
    max_connections: int = 4096
    keep_alive_s: float = 75.0
    head_s: float = 10.0
    idle_grace_s: float = 1.0
    place: Place | None = None
    outbox: Outbox | None = None


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
    # Other threads of this process (the store's, the counts') hold up the event loop no longer than that.
    sys.setswitchinterval(_SWITCH_S)
    with _signals_set(stop, options.place):
        # Last: who sees it listening may tell it to stop.
        listener = options.place.own if options.place else bind(host, port, shared=options.workers > 1)
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
    server = HttpServer(
        app,
        max_connections=options.max_connections,
        patience=patience,
        idle_grace_s=options.idle_grace_s,
        outbox=options.outbox,
    )
    async with _running(beside):
        if options.place is None:
            await server.start(listener)
        else:
            await options.place.take(server, stop)
        await stop.wait()
        app.drain()
        await asyncio.sleep(options.lame_duck_s)
        succeeded = options.place is not None and options.place.succeeded.is_set()
        # Where a successor came, control is there as well and may set the route free while this worker drains.
        patient_s = max(0.0, options.drain_s - _LAST_ANSWERS_S) if succeeded else 0.0
        refusing = asyncio.get_running_loop().call_later(patient_s, partial(app.drain, ends=True))
        await server.stop(options.drain_s, _LAST_RECORDS_S, succeeded=succeeded)
        refusing.cancel()
    if flush is not None:
        await flush()


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a listening address.

    Raises:
        ConflictError: the port is in use.
    """
    return listening(host, port, shared=shared, backlog=_BACKLOG)


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
def _signals_set(stop: asyncio.Event, place: Place | None) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if place is not None:
            place.succeeded.set()
        stop.set()

    handlers = {signal.SIGTERM: stop.set, signal.SIGINT: stop.set, signal.SIGUSR1: leave}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
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
