"""Serves the gateway on uvicorn (uvloop, httptools) until it is told to stop.

The wiring calls `run(serve(...))`, once in each worker process. Another front replaces this module alone: the
application is plain ASGI.
"""

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
import uvloop

from shipway.core.errors import ConflictError
from shipway.gateway.app import Gateway
from shipway.gateway.exchange import Message, Receive, Send

_BACKLOG = 2048
_LAST_RECORDS_S = 2.0


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
    keep_alive_s: int = 75


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
    listener = bind(host, port, shared=options.workers > 1)
    stop = asyncio.Event()
    with _signals_set(stop):
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
    limited = _Limited(app, options.max_connections)
    server = _Server(_config(limited, options))
    limited.connections = server.server_state.connections
    async with _running(beside):
        serving = asyncio.ensure_future(server.serve(sockets=[listener]))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        app.drain()
        if not serving.done():
            await asyncio.sleep(options.lame_duck_s)
        server.should_exit = True
        await serving
        # Requests that the drain cut are still writing their records.
        if server.server_state.tasks:
            await asyncio.wait(server.server_state.tasks, timeout=_LAST_RECORDS_S)
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


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process by the signal instead of with status 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Limited:
    """The gateway behind a number of connections; uvicorn's own limit would answer in plain text."""

    def __init__(self, app: Gateway, max_connections: int) -> None:
        self.connections: Collection[object] = ()
        self._app = app
        self._max_connections = max_connections

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        serve = self._app if len(self.connections) <= self._max_connections else self._app.turn_away
        await serve(scope, receive, send)


def _config(app: _Limited, options: ServerOptions) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=options.keep_alive_s,
        timeout_graceful_shutdown=max(1, round(options.drain_s)),
    )


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
