"""The connections to one origin that wait for their next request; `client` has a pool of each."""

import time
from collections import deque

from shipway.adapters.httptools_client.connection import EngineConnection

# Shorter than the 5 s after which uvicorn closes an idle connection, so that we are the ones who close it.
_KEEP_ALIVE_S = 4.0


class ConnectionPool:
    """At most `most` idle connections, the one used last behind the others."""

    __slots__ = ("idle", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.idle: deque[EngineConnection] = deque()

    def take(self) -> EngineConnection | None:
        """Return the connection used last: the others grow old and are closed when traffic falls."""
        oldest_s = time.monotonic() - _KEEP_ALIVE_S
        while self.idle:
            connection = self.idle.pop()
            if connection.usable and connection.idle_since_s >= oldest_s:
                return connection
            connection.abort()
        return None

    def keep(self, connection: EngineConnection) -> None:
        """Keep a connection for the next request, or cut it when there are enough."""
        if len(self.idle) >= self.most:
            connection.abort()
            return
        connection.idle_since_s = time.monotonic()
        self.idle.append(connection)

    def sweep(self) -> None:
        """Close what has been idle for too long."""
        oldest_s = time.monotonic() - _KEEP_ALIVE_S
        while self.idle and self.idle[0].idle_since_s < oldest_s:
            self.idle.popleft().abort()
