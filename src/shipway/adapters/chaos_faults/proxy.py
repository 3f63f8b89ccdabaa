"""A proxy between gateway and engine that answers with errors or slowly when told to; otherwise it changes nothing.

It takes one request a connection, so that what is in force counts for every request. Loopback only.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass
from urllib.parse import urlsplit

_HEAD_LIMIT = 1 << 20
_PIECE = 65_536
_BODY = b'{"error":{"message":"injected fault","type":"server_error","code":null}}'
_SERVER_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)


@dataclass(frozen=True, slots=True)
class _Fault:
    """What happens to a share of the questions. Health checks pass."""

    fails: bool = False
    delay_s: float = 0.0
    share: float = 1.0


class FaultProxy:
    """Listens on loopback before one engine."""

    def __init__(self, engine_url: str, rng: random.Random) -> None:
        """Make one before an engine whose address ends with its path, such as `/v1`."""
        parts = urlsplit(engine_url)
        self._host, self._port, self._path = parts.hostname or "127.0.0.1", parts.port or 80, parts.path
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._fault = _Fault()

    async def start(self) -> str:
        """Begin to listen and return the address to give instead of the engine's."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self._path}"

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is None:
            return
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._server = None

    def break_it(self, *, fails: bool, delay_s: float, share: float) -> None:
        """Answer a share of the questions with a 500, or pass them on late."""
        self._fault = _Fault(fails, delay_s, share)

    def mend(self) -> None:
        """Pass everything on."""
        self._fault = _Fault()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
                await self._one(reader, writer)
        finally:
            if task is not None:
                self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fault = self._fault
        if head.startswith(b"POST ") and (fault.fails or fault.delay_s) and self._rng.random() < fault.share:
            if fault.fails:
                # Read first: a reply to half a request would be a broken connection.
                await _discard(reader, head)
                writer.write(_SERVER_ERROR)
                await writer.drain()
                return
            await asyncio.sleep(fault.delay_s)
        upstream, to_engine = await asyncio.open_connection(self._host, self._port)
        try:
            to_engine.write(_closing(head))
            forth = asyncio.ensure_future(_poured(reader, to_engine))
            try:
                await _poured(upstream, writer)
            finally:
                forth.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await forth
        finally:
            to_engine.close()


def _closing(head: bytes) -> bytes:
    """Return a head that asks to close the connection after the reply, which ends it."""
    lines = [line for line in head.split(b"\r\n") if line and not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def _discard(reader: asyncio.StreamReader, head: bytes) -> None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            await reader.readexactly(int(value))
            return


async def _poured(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
