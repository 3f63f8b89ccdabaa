"""One HTTP exchange: the request's bytes, the reply's bytes, and whether the client is still there.

A front (`adapters/httptools_server`) makes one for each request: it calls `arrived`, `end_of_body` and `lost`, and
gives a `Wire` for the reply. The handlers of the gateway use the rest.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from shipway.gateway.ports import WayOut
from shipway.gateway.replies import RefusedError, error_event

_READ_AHEAD_BYTES = 256 * 1024
_LONGEST_NUMBER = 18


class Headers:
    """Request headers; `fields` have their names in lower case. Values are latin-1 text."""

    __slots__ = ("_found", "_repeated", "fields")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self.fields = tuple(fields)
        self._found: dict[bytes, bytes] = {}
        self._repeated: dict[bytes, int] = {}
        for name, value in self.fields:
            if name in self._found:
                self._repeated[name] = self._repeated.get(name, 1) + 1
            self._found[name] = value

    @property
    def items(self) -> tuple[tuple[str, str], ...]:
        """Return all headers in order."""
        return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.fields)

    @property
    def has_repeated(self) -> bool:
        """Return whether any header stands there more than once."""
        return bool(self._repeated)

    def raw(self, name: bytes) -> bytes | None:
        """Return a header's value as it was sent, the last one when it stands there more than once."""
        return self._found.get(name)

    def get(self, name: str) -> str | None:
        """Return the only value of a header, None when it is absent.

        Raises:
            RefusedError: the header stands there more than once, so two readers could choose differently.
        """
        key = name.encode("latin-1")
        value = self._found.get(key)
        if value is None:
            return None
        if key in self._repeated:
            times = self._repeated[key]
            raise RefusedError(400, f"header {name} stands there {times} times; send it once", param=name)
        return value.decode("latin-1").strip()


@dataclass(slots=True)
class RequestHead:
    """The head of a request; `target` is the path with its query as it was sent, `client` the peer's address."""

    method: str
    target: bytes
    headers: Headers
    client: str = ""


class Wire(Protocol):
    """The front's side of a reply."""

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head; `connection: close` among the headers ends the connection with this reply."""
        ...

    def flush_soon(self) -> None:
        """Send the head when the loop turns, unless a piece of the body takes it along before."""
        ...

    def push(self, data: bytes) -> bool:
        """Send bytes; False when the client reads slowly, so that `write` has to be waited for."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the client reads slowly."""
        ...

    def way_out(self) -> WayOut | None:
        """Return where chunks go as they came; None when what is pushed takes another form."""
        ...

    def finish(self, data: bytes) -> None:
        """Send the last bytes."""
        ...


class Exchange:
    """A request and its reply.

    `gone` is true when the client left before the reply was whole; `started` when the status line was sent; `complete`
    when the final byte was handed over; `whole` when all of the request has arrived. `on_room` is called when the
    request's body may go on arriving. `say_error` makes the event that ends a stream badly.
    """

    def __init__(self, head: RequestHead, wire: Wire) -> None:
        self.method = head.method
        raw_path, _, self.query = head.target.partition(b"?")
        self.raw_path: bytes = raw_path
        self.path: str = unquote(raw_path.decode("latin-1")) if b"%" in raw_path else raw_path.decode("latin-1")
        self.headers = head.headers
        self.client_host = head.client
        self.wire = wire
        self.stamp: list[tuple[str, str]] = []
        self.gone = False
        self.started = False
        self.complete = False
        self.whole = False
        self.body_bytes = 0
        self.on_room: Callable[[], None] = _nothing
        self.say_error: Callable[[RefusedError, str], bytes] = error_event
        self._chunks: deque[bytes] | None = None
        self._buffered_bytes = 0
        self._refusal: RefusedError | None = None
        self._arrival: asyncio.Future[None] | None = None

    # What the front tells.

    def arrived(self, data: bytes) -> int:
        """Take a piece of the body; returns how many bytes nobody has read yet."""
        if self.complete:
            return 0
        if self._chunks is None:
            self._chunks = deque()
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        self._wake()
        return self._buffered_bytes

    def end_of_body(self) -> None:
        """Take note that the request is whole."""
        self.whole = True
        self._wake()

    def fail(self, refusal: RefusedError) -> None:
        """Take note that the rest of the body is not what it should be; whoever reads it learns so."""
        self._refusal = refusal
        self._wake()

    def lost(self, work: "asyncio.Task[None] | None") -> None:
        """Take note that the client left, and stop the work for it."""
        self.gone = True
        if work is not None:
            work.cancel()

    # What the handlers use.

    async def body_chunks(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it arrives."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                held = self._buffered_bytes > _READ_AHEAD_BYTES
                self._buffered_bytes -= len(chunk)
                if held and self._buffered_bytes <= _READ_AHEAD_BYTES:
                    self.on_room()
                if chunk:
                    yield chunk
            if self.whole:
                # A stream goes on for minutes: an empty queue takes 600 bytes of it.
                self._chunks = None
                return
            if self._refusal is not None:
                raise self._refusal
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None

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
        self.body_bytes = size
        return b"".join(parts)

    async def linger(self, limit_bytes: int, wait_s: float) -> None:
        """Throw away what the client still sends, so that closing does not destroy the reply on its way."""
        seen = 0
        # What is wrong with the rest of a body that is thrown away matters to nobody.
        with contextlib.suppress(TimeoutError, RefusedError):
            async with asyncio.timeout(wait_s):
                async for chunk in self.body_chunks():
                    seen += len(chunk)
                    if seen > limit_bytes:
                        return

    def reply(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Send a whole reply."""
        self.started = True
        self.wire.start(status, (*self.stamp, *headers, *self._ending, ("content-length", str(len(body)))))
        self.finish(body)

    def go_on(self, wire: Wire) -> None:
        """Go on with a reply that has begun on a wire."""
        self.wire = wire
        self.started = True

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send status and headers, with the exchange's own stamp on top."""
        self.started = True
        self.wire.start(status, (*self.stamp, *headers, *self._ending))
        self.wire.flush_soon()

    @property
    def _ending(self) -> tuple[tuple[str, str], ...]:
        """Return what says that the connection ends, because the rest of the request may never be read."""
        return () if self.whole else (("connection", "close"),)

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the client reads slowly."""
        await self.wire.write(data)

    def finish(self, data: bytes = b"") -> None:
        """Send the last bytes."""
        self.complete = True
        self.wire.finish(data)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)


def _nothing() -> None:
    """Do nothing."""


def _too_large(limit_bytes: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {limit_bytes} bytes; send less", code="body_too_large")
