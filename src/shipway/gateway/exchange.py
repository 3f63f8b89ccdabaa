"""One HTTP exchange over raw ASGI: the request's bytes, the reply's bytes, and whether the client is still there.

`gateway.app` makes one for each request. A pump reads `receive()` all the time, because that is the only place where
ASGI tells of a client that left; without it an upstream call runs on for nobody.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from shipway.gateway.replies import RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_READ_AHEAD_BYTES = 256 * 1024
_LONGEST_NUMBER = 18


class Headers:
    """Request headers; names in lower case, values as latin-1 text."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self.items = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw)

    def get(self, name: str) -> str | None:
        """Return the only value of a header, None when it is absent.

        Raises:
            RefusedError: the header stands there more than once, so two readers could choose differently.
        """
        found = [value.strip() for key, value in self.items if key == name]
        if len(found) > 1:
            raise RefusedError(400, f"header {name} stands there {len(found)} times; send it once", param=name)
        return found[0] if found else None


class Exchange:
    """A request and its reply.

    `gone` is true when the client left before the reply was whole; `started` when the status line was sent; `complete`
    when the final byte was handed over.
    """

    def __init__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, request_id: str) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope.get("raw_path") or self.path.encode()
        self.query: bytes = scope.get("query_string", b"")
        self.headers = Headers(scope["headers"])
        self.client_host: str = (scope.get("client") or ("",))[0]
        self.request_id = request_id
        self.stamp: list[tuple[str, str]] = [("x-request-id", request_id)]
        self.gone = False
        self.started = False
        self.complete = False
        self._receive = receive
        self._send = send
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._ended = False
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self, handle: Callable[["Exchange"], Awaitable[None]]) -> None:
        """Handle the exchange and cancel the work when the client leaves."""
        work = asyncio.ensure_future(handle(self))
        pump = asyncio.ensure_future(self._pump(work))
        try:
            await work
        except asyncio.CancelledError:
            if not self.gone:
                raise
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def body_chunks(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it arrives."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered_bytes -= len(chunk)
                self._room.set()
                if chunk:
                    yield chunk
            if self._ended:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def read_body(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises:
            RefusedError: 413, before more than `limit_bytes` are held; 400 for a length that is no number.
        """
        declared = self.headers.get("content-length")
        if declared is not None and not (
            declared.isascii() and declared.isdigit() and len(declared) <= _LONGEST_NUMBER
        ):
            raise RefusedError(400, "content-length is not a number", param="content-length")
        if declared is not None and int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
        parts: list[bytes] = []
        size = 0
        async for chunk in self.body_chunks():
            size += len(chunk)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            parts.append(chunk)
        return b"".join(parts)

    async def linger(self, limit_bytes: int, wait_s: float) -> None:
        """Throw away what the client still sends, so that closing does not destroy the reply on its way."""
        seen = 0
        try:
            async with asyncio.timeout(wait_s):
                async for chunk in self.body_chunks():
                    seen += len(chunk)
                    if seen > limit_bytes:
                        return
        except TimeoutError:
            return

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send status and headers, with the exchange's own stamp on top."""
        self.started = True
        stamped = [*self.stamp, *headers]
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in stamped]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the client reads slowly."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last bytes."""
        self.complete = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _pump(self, work: asyncio.Future[None]) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if not self.complete:
                    self.gone = True
                    work.cancel()
                return
            chunk: bytes = message.get("body", b"")
            self._chunks.append(chunk)
            self._buffered_bytes += len(chunk)
            self._ended = not message.get("more_body", False)
            self._arrived.set()
            while self._buffered_bytes > _READ_AHEAD_BYTES and not self._ended:
                self._room.clear()
                await self._room.wait()


def _too_large(limit_bytes: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limit_bytes} bytes; send less", code="body_too_large")
