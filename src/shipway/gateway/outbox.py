"""Bytes that leave together: what all connections write in one turn of the event loop is sent at its end.

Both of the gateway's HTTP adapters write through it.

What has to happen before anything of a turn leaves is done first, once for the whole turn (`first`).

Each send to a peer that sleeps wakes it, which costs the kernel more than the sending. A gateway that sends between two
requests' work finds both peers asleep again each time; one that sends all at once wakes them once. With 32 requests at
a time that is a quarter of the processor time (docs/performance.md). A single write waits for one turn of the loop,
some microseconds. Where streams pass, a turn may be long (dozens of chunks), and who sends a chunk at once wakes
somebody anyway: a chunk takes along what waits, a request or the beginning of another stream.
"""

import asyncio
from collections.abc import Callable
from typing import Any


class Outbox:
    """The letters of one loop; they leave in the order in which they were written."""

    __slots__ = ("_letters", "_loop", "_work", "_works")

    def __init__(self) -> None:
        self._works = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._letters: list[tuple[asyncio.Transport, bytes]] = []
        self._work: list[Callable[[], None]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send bytes at the end of this turn."""
        if not self._letters and not self._work:
            self._soon()
        self._letters.append((transport, data))

    def first(self, work: Callable[[], None]) -> None:
        """Do some work at the end of this turn, before anything leaves; what it puts leaves with the rest."""
        if not self._letters and not self._work:
            self._soon()
        self._work.append(work)

    def put_now(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send bytes at once, behind what waits."""
        if self._works:
            self._letters.append((transport, data))
            return
        if self._letters or self._work:
            self.flush()
        if not transport.is_closing():
            transport.write(data)

    def _soon(self) -> None:
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send everything now."""
        if self._work:
            # They stay on the list while they run, so that what they put needs no turn of its own.
            self._works = True
            for work in self._work:
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - what one cannot do must not keep the letters back
                    _complain("work before sending that failed", error)
            self._work.clear()
            self._works = False
        letters, self._letters = self._letters, []
        for transport, data in letters:
            # Who is gone by now has no use for it; the transport would raise.
            if not transport.is_closing():
                try:
                    transport.write(data)
                except Exception as error:  # noqa: BLE001 - what one cannot take must not cost the others theirs
                    _complain("bytes that a transport did not take", error, transport=transport)


def _complain(message: str, error: Exception, **more: Any) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error, **more})


class OutboxTransport:
    """A transport whose writes go through an outbox; what ends the connection sends them first."""

    __slots__ = ("_outbox", "_transport")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox

    def write(self, data: bytes) -> None:
        """Send bytes at the end of this turn."""
        self._outbox.put(self._transport, data)

    def write_now(self, data: bytes) -> None:
        """Send bytes at once, behind those that wait."""
        self._outbox.put_now(self._transport, data)

    def write_eof(self) -> None:
        """Send nothing more."""
        self._outbox.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close once everything has been sent."""
        self._outbox.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._outbox.flush()
        self._transport.abort()

    def can_write_eof(self) -> bool:
        """Return whether the connection can be ended in one direction."""
        return self._transport.can_write_eof()

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name)

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()
