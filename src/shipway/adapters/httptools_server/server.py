"""Accepts clients on sockets, minds their time, lets running requests end; `entrypoints/dataplane` runs it."""

import asyncio
import errno
import socket
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from shipway.adapters.httptools_server.connection import ClientConnection, Patience, only_waits
from shipway.adapters.httptools_server.known_heads import KnownHeads
from shipway.adapters.httptools_server.succession import Succession
from shipway.gateway.exchange import Exchange
from shipway.gateway.flight import Flight
from shipway.gateway.lane import Lane
from shipway.gateway.outbox import Outbox
from shipway.gateway.replies import RefusedError, Reply
from shipway.gateway.rounds import Rounds

_SWEEP_S = 1.0
_PARTS = 16
_LOOK_S = 0.05
"""Who waits longer than this for another worker is taken by this one: it died, or it is busier."""
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

    def resume(self, exchange: Exchange, flight: Flight) -> Coroutine[Any, Any, None]:
        """Answer a request that a flight has begun."""
        ...

    def refused(self, refusal: RefusedError) -> Reply:
        """Note what is no request and return the reply to it."""
        ...

    @property
    def lane(self) -> Lane | None:
        """Return the short way of plain requests, None without one."""
        ...


class HttpServer:
    """A listening socket and its connections.

    `idle_grace_s` is how long a stop leaves connections open that wait for a request. One that is on its way then is
    answered, and told that it was the connection's last; closing at once would cut it. `outbox` is what its connections
    write through: that of the engines' client where a stream's chunks shall take along what waits for an engine.
    """

    def __init__(
        self,
        app: Application,
        *,
        max_connections: int,
        patience: Patience,
        idle_grace_s: float = 0.0,
        outbox: Outbox | None = None,
    ) -> None:
        self._app = app
        self._idle_grace_s = idle_grace_s
        self._max_connections = max_connections
        self._patience = patience
        self._connections: set[ClientConnection] = set()
        self._rounds = Rounds(self._connections, _PARTS)
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._listener: socket.socket | None = None
        self._others: tuple[socket.socket, ...] = ()
        self._succession: Succession | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._clients: dict[ClientConnection, tuple[asyncio.Transport, socket.socket]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None
        self.stopping = False
        self.heads = KnownHeads()
        self.outbox = outbox or Outbox()

    async def start(
        self, listener: socket.socket, others: Sequence[socket.socket] = (), succession: Succession | None = None
    ) -> None:
        """Accept from now on; `stop` closes the sockets.

        `others` are those of other workers: who waits there for a while is taken too. What a predecessor hands over
        comes by `succession`.
        """
        loop = asyncio.get_running_loop()
        self._listener, self._others, self._succession = listener, tuple(others), succession
        if succession is not None:
            loop.add_reader(succession.takes, self._inherit)
        listener.listen(_BACKLOG)
        loop.add_reader(listener, self._accept, listener)
        self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        if others:
            self._looker = loop.call_later(_LOOK_S, self._look)

    def _accept(self, listener: socket.socket) -> None:
        if not self._take(listener):
            # Out of file descriptors: those who wait are taken when others have left.
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(_SWEEP_S, self._accept_again)

    def _accept_again(self) -> None:
        if not self.stopping and self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _take(self, listener: socket.socket) -> bool:
        """Accept who waits; False when the system does not allow it."""
        for _ in range(_BACKLOG):
            try:
                client, _address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                break
            except OSError as error:
                return error.errno == errno.EINVAL  # nobody listens on another's yet
            self._arrive(client)
        return True

    def _inherit(self) -> None:
        """Go on with the connections that a predecessor hands over."""
        for client in self._succession.taken() if self._succession is not None else ():
            self._arrive(client)

    def _arrive(self, client: socket.socket) -> None:
        client.setblocking(False)  # noqa: FBT003 - the socket module's signature
        arrival = asyncio.get_running_loop().create_task(self._connect(client))
        self._arriving.add(arrival)
        arrival.add_done_callback(self._arriving.discard)

    async def _connect(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        transport, connection = await loop.connect_accepted_socket(lambda: ClientConnection(self), client)
        if connection in self._connections:
            self._clients[connection] = (transport, client)

    def _look(self) -> None:
        """Take who waits for a worker that does not come."""
        for other in self._others:
            self._take(other)
        self._looker = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    async def stop(self, drain_s: float, last_words_s: float, *, succeeded: bool = False) -> None:
        """Accept nothing more; running requests have `drain_s` to end, then `last_words_s` to say so.

        A worker that is `succeeded` leaves its successor who waits to be accepted, and the connections on which nothing
        is under way.
        """
        succession = self._succession if succeeded else None
        await self._stop_accepting(succeeded=succession is not None)
        self.stopping = True
        if not await self._drained_within(drain_s, succession):
            await self._cut(last_words_s)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _stop_accepting(self, *, succeeded: bool) -> None:
        if self._looker is not None:
            self._looker.cancel()
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        if self._succession is not None:
            loop.remove_reader(self._succession.takes)
        if not succeeded:
            # Who waits there has been promised a connection.
            self._inherit()
            for listener in (self._listener, *self._others):
                self._take(listener)
        for listener in (self._listener, *self._others):
            listener.close()
        self._listener = None
        await asyncio.gather(*self._arriving, return_exceptions=True)

    async def _drained_within(self, drain_s: float, succession: Succession | None) -> bool:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while True:
            if succession is not None:
                self._hand_over(succession)
            if await self._closed_within(min(_LOOK_S, max(0.0, began_s + drain_s - loop.time()))):
                return True
            now_s = loop.time()
            if now_s - began_s >= drain_s:
                return False
            for connection in list(self._connections):
                if connection.idle and now_s - max(connection.since_s, began_s) >= self._idle_grace_s:
                    connection.close()

    def _hand_over(self, succession: Succession) -> None:
        """Give the successor what only waits for a request; its client does not notice."""
        self.outbox.flush()
        for connection, (transport, client) in list(self._clients.items()):
            if only_waits(connection) and not transport.is_closing() and not transport.get_write_buffer_size():
                if not succession.give(client):
                    return
                # This closes the descriptor of this process; the connection lives by the other one.
                connection.abort()

    async def _cut(self, last_words_s: float) -> None:
        for connection in list(self._connections):
            if connection.task is not None:
                connection.task.cancel()
            else:
                connection.close()
        if not await self._closed_within(last_words_s):
            for connection in list(self._connections):
                connection.abort()
            await self._closed_within(last_words_s)

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

    def resume(self, exchange: Exchange, flight: Flight) -> Coroutine[Any, Any, None]:
        """Return the work of a request that a flight has begun."""
        return self._app.resume(exchange, flight)

    @property
    def lane(self) -> Lane | None:
        """Return the short way."""
        return self._app.lane

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
        self._clients.pop(connection, None)
        if not self._connections:
            self._all_closed.set()

    def _sweep(self) -> None:
        """End waits that are too long; one timer for all connections, a part of them at a time."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for connection in self._rounds.part():
            if connection in self._connections:
                connection.mind_time(now_s, self._patience)
        self._sweeper = loop.call_later(_SWEEP_S if self._rounds.is_over else _SWEEP_S / _PARTS, self._sweep)
