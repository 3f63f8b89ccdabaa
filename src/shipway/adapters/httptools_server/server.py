"""Accepts clients on a bound socket, minds their time, lets running requests end; `entrypoints/dataplane` runs it."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, Protocol

from shipway.adapters.httptools_server.connection import ClientConnection, Patience
from shipway.gateway.exchange import Exchange
from shipway.gateway.replies import RefusedError, Reply

_SWEEP_S = 1.0
_BACKLOG = 2048


class Application(Protocol):
    """What is served."""

    @property
    def max_message_bytes(self) -> int:
        """Return the largest message of a WebSocket."""
        ...

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Answer a request."""
        ...

    def refused(self, refusal: RefusedError) -> Reply:
        """Note what is no request and return the reply to it."""
        ...


class HttpServer:
    """A listening socket and its connections."""

    def __init__(self, app: Application, *, max_connections: int, patience: Patience) -> None:
        self._app = app
        self._max_connections = max_connections
        self._patience = patience
        self._connections: set[ClientConnection] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._listener: socket.socket | None = None
        self._arriving: set[asyncio.Task[object]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.stopping = False

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on; the socket is closed by `stop`."""
        loop = asyncio.get_running_loop()
        self._listener = listener
        loop.add_reader(listener, self._accept, listener)
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_BACKLOG):
            try:
                client, _address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                # Out of file descriptors: those who wait are taken when others have left.
                loop.remove_reader(listener)
                loop.call_later(_SWEEP_S, self._accept_again)
                return
            client.setblocking(False)  # noqa: FBT003 - the socket module's signature
            arrival = loop.create_task(loop.connect_accepted_socket(lambda: ClientConnection(self), client))
            self._arriving.add(arrival)
            arrival.add_done_callback(self._arriving.discard)

    def _accept_again(self) -> None:
        if not self.stopping and self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def stop(self, drain_s: float, last_words_s: float) -> None:
        """Accept nothing more; running requests have `drain_s` to end, then `last_words_s` to say so."""
        if self._listener is not None:
            # Who waits in the backlog has been promised a connection.
            self._accept(self._listener)
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            await asyncio.gather(*self._arriving, return_exceptions=True)
        self.stopping = True
        for connection in list(self._connections):
            if connection.idle:
                connection.close()
        if not await self._closed_within(drain_s):
            for connection in list(self._connections):
                if connection.task is not None:
                    connection.task.cancel()
                else:
                    connection.close()
            if not await self._closed_within(last_words_s):
                for connection in list(self._connections):
                    connection.abort()
                await self._closed_within(last_words_s)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _closed_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                await self._all_closed.wait()
        except TimeoutError:
            return False
        return True

    # What a connection needs.

    @property
    def max_message_bytes(self) -> int:
        """Return the largest message of a WebSocket."""
        return self._app.max_message_bytes

    def serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Return the work of one request."""
        return self._app.serve(exchange)

    def refused(self, refusal: RefusedError) -> Reply:
        """Return the reply to what is no request."""
        return self._app.refused(refusal)

    def opened(self, connection: ClientConnection) -> bool:
        """Note a connection; False when there are too many."""
        self._connections.add(connection)
        self._all_closed.clear()
        return len(self._connections) <= self._max_connections

    def closed(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_closed.set()

    def _sweep(self) -> None:
        """End waits that are too long; one timer for all connections."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in list(self._connections):
            connection.mind_time(now_s, self._patience)
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
