"""`gateway.ports.EngineClient` over own pooled connections; the wiring opens one for each worker.

The client sends once and gives bytes back as they came: it follows no redirect, decodes nothing, keeps no cookie and
has no timeout but the one for connecting, because the gateway owns deadlines and retries.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

from shipway.adapters.httptools_client.connection import EngineConnection
from shipway.adapters.httptools_client.known_replies import KnownReplies
from shipway.adapters.httptools_client.pool import ConnectionPool
from shipway.core.errors import UsageError
from shipway.gateway.outbox import Outbox
from shipway.gateway.ports import EngineAbsentError, EngineConnectError, EngineRequest
from shipway.gateway.rounds import Rounds

_SWEEP_S = 1.0
_PARTS = 16
_BODILESS_METHODS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a URL leads; `key` names the pool."""

    host: str
    port: int
    tls: bool
    authority: bytes
    path: bytes

    @property
    def key(self) -> tuple[str, int, bool]:
        return self.host, self.port, self.tls


class HttptoolsEngineClient:
    """A pool of connections to engines; at most `max_idle` of each origin are kept for later."""

    def __init__(self, *, max_idle: int = 512) -> None:
        self._max_idle = max_idle
        self._pools: dict[tuple[str, int, bool], ConnectionPool] = {}
        self._open: set[EngineConnection] = set()
        self._rounds = Rounds(self._open, _PARTS)
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._heads = KnownReplies()
        self.outbox = Outbox()

    async def send(self, request: EngineRequest) -> EngineConnection:
        """Send once; see the port."""
        target = _target(request.url)
        head, size = _head(request, target)
        pool = self._pool(target)
        connection = pool.take() or await self._connected(target, pool, request.connect_timeout_s)
        try:
            await connection.request(head, request.body, size=size, bodiless=request.method == "HEAD")
        except BaseException:
            connection.abort()
            raise
        return connection

    def ready(
        self, url: str, headers: tuple[tuple[str, str], ...]
    ) -> tuple[bytes, Callable[[], EngineConnection | None]]:
        """Return the beginning of every POST to an address, and what gives an idle connection; see the port."""
        target = _target(url)
        start = _start("POST", target) + _lines(headers)[0]
        return start, self._pool(target).take

    def _pool(self, target: _Target) -> ConnectionPool:
        pool = self._pools.get(target.key)
        if pool is None:
            pool = self._pools[target.key] = ConnectionPool(0 if self._closed else self._max_idle)
        return pool

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        for pool in self._pools.values():
            pool.most = 0
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._open):
            connection.abort()
        self._pools.clear()
        # Transports end in the loop's next turn.
        await asyncio.sleep(0)

    async def _connected(self, target: _Target, pool: ConnectionPool, timeout_s: float) -> EngineConnection:
        loop = asyncio.get_running_loop()
        where = target.authority.decode()
        try:
            async with asyncio.timeout(timeout_s):
                opened = await loop.create_connection(
                    lambda: cast("Any", EngineConnection(pool.keep, self._heads, self.outbox)),
                    target.host,
                    target.port,
                    ssl=self._tls_context() if target.tls else None,
                    server_hostname=target.host if target.tls else None,
                )
        except TimeoutError as error:
            raise EngineConnectError(f"no connection to {where} within {timeout_s} s") from error
        except (ssl.SSLError, socket.gaierror) as error:
            raise EngineConnectError(f"no connection to {where}: {error!r}") from error
        except OSError as error:
            raise EngineAbsentError(f"no connection to {where}: {error!r}") from error
        connection: EngineConnection = opened[1]
        self._open.add(connection)
        if self._sweeper is None and not self._closed:
            self._sweeper = loop.call_later(_SWEEP_S, self._sweep)
        return connection

    def _sweep(self) -> None:
        """Close what has been idle for too long and forget what is closed; one timer, a part of them at a time."""
        for pool in self._pools.values():
            pool.sweep()
        self._open.difference_update([connection for connection in self._rounds.part() if not connection.usable])
        wait_s = _SWEEP_S if self._rounds.is_over else _SWEEP_S / _PARTS
        self._sweeper = asyncio.get_running_loop().call_later(wait_s, self._sweep)

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


@lru_cache(maxsize=1024)
def _target(url: str) -> _Target:
    if not url.isascii() or any(sign <= " " or sign == "\x7f" for sign in url):
        raise UsageError(f"{url!r} has signs that must be percent-encoded", hint="encode blanks and non-ASCII signs")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError(f"{url!r} is not an http address", hint="write http://host:port/path")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = parts.netloc.rpartition("@")[2]
    return _Target(
        parts.hostname,
        parts.port or _PORTS[parts.scheme],
        parts.scheme == "https",
        authority.encode(),
        path.encode(),
    )


def _head(request: EngineRequest, target: _Target) -> tuple[bytes, int | None]:
    """Return the request's head, and the length that it promises when the caller gave one."""
    lines, size = _lines(request.headers)
    framed = size is not None
    framing = b""
    if not isinstance(request.body, bytes):
        framing = b"" if framed else b"transfer-encoding: chunked\r\n"
    elif not framed and (request.body or request.method not in _BODILESS_METHODS):
        framing = b"content-length: %d\r\n" % len(request.body)
    return b"".join((_start(request.method, target), lines, framing, b"\r\n")), size


def _start(method: str, target: _Target) -> bytes:
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode(), target.path, target.authority)


def _lines(headers: Sequence[tuple[str, str]]) -> tuple[bytes, int | None]:
    """Return header lines, and the length that they promise if they do.

    Raises:
        UsageError: a header that would end the line it stands on, or a length that is none.
    """
    size = None
    text = []
    for name, value in headers:
        text.append(f"{name}: {value}\r\n")
        if name == "content-length":
            size = _length(value)
    lines = "".join(text)
    if lines.count("\n") != len(text) or lines.count("\r") != len(text) or "\0" in lines:
        raise UsageError("a header for the engine holds a line break", hint="remove it")
    return lines.encode("latin-1"), size


def _length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise UsageError(f"content-length {value!r} is no number", hint="leave it out")
    return int(value)
