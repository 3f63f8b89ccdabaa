"""The end of what a stage printed, in bounded memory; the runner gives one to every attempt."""

TAIL_BYTES = 64 * 1024


class OutputTail:
    """Keeps the last bytes of a stream."""

    def __init__(self, limit_bytes: int = TAIL_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._kept = bytearray()
        self._dropped_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """Return how much is held; never more than twice the limit."""
        return len(self._kept)

    def feed(self, data: bytes) -> None:
        """Add to the end."""
        if len(data) > self.limit_bytes:
            self._dropped_bytes += len(data) - self.limit_bytes
            data = data[-self.limit_bytes :]
        self._kept += data
        # Trimmed at twice the limit, so that a byte is moved once and not with every line.
        if len(self._kept) > 2 * self.limit_bytes:
            self._trim()

    def text(self) -> str:
        """Return the end as text; when something was dropped before it, a line that says how much comes first."""
        if len(self._kept) > self.limit_bytes:
            self._trim()
        text = self._kept.decode(errors="replace")
        return f"[{self._dropped_bytes} bytes before this were dropped]\n{text}" if self._dropped_bytes else text

    def last(self, size_bytes: int) -> bytes:
        """Return the last bytes, as far as they are held."""
        return bytes(self._kept[-size_bytes:]) if size_bytes else b""

    def close(self) -> None:
        """Let go of what was opened; called once, when the attempt is over."""

    def _trim(self) -> None:
        surplus = len(self._kept) - self.limit_bytes
        self._dropped_bytes += surplus
        del self._kept[:surplus]
