"""The requests of one connection that need no task: `connection` gives them here, `gateway.lane` serves them.

A request is held as the bytes that came until it is whole, and until it is answered: one that turns out not to be plain
goes to the connection's parser as if nothing had been.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from shipway.adapters.httptools_server.known_heads import KnownHeads
from shipway.adapters.httptools_server.wire import ReplyWire, date_line
from shipway.gateway.flight import Flight
from shipway.gateway.lane import Lane
from shipway.gateway.outbox import Outbox, OutboxTransport

_MOST_PIECES = 4
_LONGEST_WAIT_S = 1.0
_EARLY_BYTES = 64 * 1024


class LongWay(Protocol):
    """The connection."""

    def feed(self, data: bytes, flight: Flight | None = None) -> None:
        """Parse what came; a request that a flight has begun goes on from there."""
        ...

    def landed(self, *, keeps: bool) -> bool:
        """Take note that a reply was written, which said whether it `keeps` the connection; returns whether it does."""
        ...

    def hold(self, *, on: bool) -> None:
        """Stop or go on reading."""
        ...


class Lanes(Protocol):
    """What a connection needs from its server."""

    @property
    def lane(self) -> Lane | None:
        """Return the short way, None without one."""
        ...

    @property
    def heads(self) -> KnownHeads:
        """Return the heads that clients have sent."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Return what sends."""
        ...

    @property
    def stopping(self) -> bool:
        """Return whether replies end their connections now."""
        ...


class ShortWay:
    """One connection's."""

    __slots__ = ("_early", "_find", "_keeps", "_lanes", "_long", "_pieces", "_raw", "_since_s", "_transport", "flight")

    def __init__(self, lanes: Lanes, long: LongWay, transport: OutboxTransport) -> None:
        self._lanes = lanes
        self._find = lanes.heads.find
        self._long = long
        self._transport = transport
        self._raw = b""
        self._early = b""
        self._pieces = 0
        self._since_s = 0.0
        self._keeps = True
        self.flight: Flight | None = None

    @property
    def is_busy(self) -> bool:
        """Return whether a request is being served, or has come in part."""
        return self.flight is not None or bool(self._raw)

    def received(self, data: bytes) -> bool:
        """Take what came; False when the connection's parser has to, `data` and what was held of it before."""
        if self.flight is not None:
            self._early += data
            if len(self._early) > _EARLY_BYTES:
                self._long.hold(on=True)
            return True
        lane = self._lanes.lane
        if self._raw:
            data = self._raw + data
        found = None if lane is None else self._find(data)
        if lane is None or found is None:
            return self._declined(data)
        head, start, size = found
        missing = start + size - len(data)
        if missing > 0 and self._pieces < _MOST_PIECES:
            self._raw, self._since_s = data, time.monotonic()
            self._pieces += 1
            return True
        flight = lane.take(head, data[start:], self) if missing == 0 else None
        if flight is None:
            return self._declined(data)
        self._raw = data
        self.flight = flight
        return True

    def _declined(self, data: bytes) -> bool:
        """Let the parser have it; True when that was more than what has just come."""
        if not self._raw:
            return False
        self._raw, self._pieces = b"", 0
        self._long.feed(data)
        return True

    def mind_time(self, now_s: float) -> None:
        """Give a request that does not become whole to the parser, behind which the body's patience is."""
        if self._raw and self.flight is None and now_s - self._since_s > _LONGEST_WAIT_S:
            self._declined(self._raw)

    # What the flight tells.

    def before_sending(self, work: Callable[[], None]) -> None:
        """Do some work at the end of this turn of the loop, before anything is sent."""
        self._lanes.outbox.first(work)

    def answer(self, headers: bytes, body: bytes) -> None:
        """Send a whole 200 reply; `headers` are whole lines."""
        self._keeps = not self._lanes.stopping
        last = b"" if self._keeps else b"connection: close\r\n"
        size = b"content-length: %d\r\n\r\n" % len(body)
        self._transport.write(b"".join((b"HTTP/1.1 200 OK\r\n", headers, date_line(), last, size, body)))
        self.close()

    def open(self, headers: bytes) -> ReplyWire:
        """Return what a 200 stream is written to; `headers` are whole lines."""
        self._keeps = not self._lanes.stopping
        wire = ReplyWire(self._transport, asyncio.get_running_loop(), method="POST", old=False, keeps=self._keeps)
        wire.stream(headers)
        return wire

    def close(self) -> None:
        """Take note that what was written to it is whole."""
        early = self._ended()
        if self._long.landed(keeps=self._keeps) and early:
            self._long.feed(early)

    def slow(self) -> None:
        """Let a stream wait for its reader."""
        if self.flight is not None:
            self.flight.slow()

    def resume(self, flight: Flight) -> None:
        """Give the request to the long way, which begins with `flight`."""
        raw = self._raw
        early = self._ended()
        if self._transport.is_closing():
            flight.end(gone=True)
        else:
            self._long.feed(raw + early, flight)

    def end(self, *, gone: bool) -> None:
        """End the work: the client left, or the worker stops."""
        flight = self.flight
        self._ended()
        if flight is not None:
            flight.end(gone=gone)

    def _ended(self) -> bytes:
        early = self._early
        self.flight, self._raw, self._early, self._pieces = None, b"", b"", 0
        return early
