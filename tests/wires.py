"""The client's side of an exchange, for tests that watch what leaves when."""

from typing import Any


class OrderWire:
    """A wire that notes each piece of a reply that is not empty."""

    def __init__(self, order: list[Any]) -> None:
        self._order = order

    def start(self, status: int, headers: Any) -> None:
        """Pass over the head."""

    def flush_soon(self) -> None:
        """Pass over the head."""

    def push(self, data: bytes) -> bool:
        """Note the bytes."""
        if data:
            self._order.append(data)
        return True

    async def write(self, data: bytes) -> None:
        """Note the bytes."""
        self.push(data)

    def way_out(self) -> None:
        """Return nothing: here is no socket."""

    def finish(self, data: bytes = b"") -> None:
        """Note the last bytes."""
        if data:
            self._order.append(data)
