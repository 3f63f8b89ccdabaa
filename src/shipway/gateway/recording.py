"""A wire that keeps what goes to the client; the answer cache and the shadow copies read it when the reply is whole."""

from collections.abc import Iterable

from shipway.gateway.exchange import Wire


class RecordingWire:
    """Passes everything on to `wire` and keeps the body up to `limit_bytes`."""

    def __init__(self, wire: Wire, *, limit_bytes: int) -> None:
        self.wire = wire
        self.status = 0
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] | None = []
        self._size = 0
        self._is_whole = False

    @property
    def body(self) -> bytes | None:
        """Return the body; None while it is not whole, or when it is larger than the limit."""
        return b"".join(self._parts) if self._is_whole and self._parts is not None else None

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head."""
        self.status = status
        self.wire.start(status, headers)

    def flush_soon(self) -> None:
        """Send the head when the loop turns."""
        self.wire.flush_soon()

    def push(self, data: bytes) -> bool:
        """Send bytes; False when the client reads slowly."""
        self._keep(data)
        return self.wire.push(data)

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        self._keep(data)
        await self.wire.write(data)

    def way_out(self) -> None:
        """Return nothing: what goes to the client has to be kept."""

    def finish(self, data: bytes) -> None:
        """Send the last bytes."""
        self._keep(data)
        self._is_whole = True
        self.wire.finish(data)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit_bytes:
            self._parts = None
        elif self._parts is not None:
            self._parts.append(data)
