"""A stream on its way from an engine to a client: each piece in the callback that brought it, without waking a task.

`gateway.relay` and `gateway.flight` make one for each stream; the engine's connection gives it what comes.
"""

from collections.abc import Callable

from shipway.gateway.exchange import Wire
from shipway.gateway.patience import Patience
from shipway.gateway.ports import WayOut
from shipway.gateway.replies import reply_too_large
from shipway.gateway.responses import ResponseStream
from shipway.gateway.stream import ChatStream


class Passing:
    """What takes a stream's pieces.

    `start` makes the reply's head before the first of them, None where it has been made; `first_token` is called once.
    """

    __slots__ = ("_first_token", "_left_bytes", "_limit_bytes", "_patience", "_plain", "_stream", "_wire", "start")

    def __init__(
        self,
        wire: Wire,
        stream: ChatStream | ResponseStream,
        patience: Patience,
        limit_bytes: int,
        first_token: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._stream = stream
        self._plain = stream if isinstance(stream, ChatStream) else None
        self._patience = patience
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes if self._plain is None else limit_bytes - self._plain.passed_bytes
        self._first_token = first_token
        self.start: Callable[[], None] | None = None

    def knows(self, data: bytes, start: int, end: int) -> bool:
        """Return whether a chunk's content may go to the client as it stands; it is counted then."""
        left_bytes = self._left_bytes - (end - start)
        if left_bytes < 0 or self._plain is None or not self._plain.knows(data, start, end):
            return False
        self._left_bytes = left_bytes
        return True

    def way_out(self) -> WayOut | None:
        """Return where chunks go as they came."""
        return self._wire.way_out() if self.start is None and self._plain is not None else None

    def passed(self) -> bool:
        """Take note that chunks were passed on; False when the client has to be waited for."""
        self._patience.heard()
        return self._wire.push(b"")

    def take(self, data: bytes) -> bool:
        """Pass a piece on; False when the stream is over, or the client has to be waited for.

        Raises:
            RefusedError: 502, the answer is too long.
            EngineBrokenError: an event has no end.
        """
        stream = self._stream
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise reply_too_large(self._limit_bytes)
        before = stream.data_events
        forward = stream.feed(data)
        if stream.data_events > before:
            if not before:
                self._first_token()
            self._patience.heard()
        reads = True
        if forward:
            if self.start is not None:
                self.start()
                self.start = None
            reads = self._wire.push(forward)
        return reads and not stream.done and not stream.failed

    def is_over(self) -> bool:
        """Return whether the engine has said its last word."""
        return self._stream.done or self._stream.failed

    def pass_over(self) -> None:
        """Let another one go on with the stream."""
        if self._plain is not None:
            self._plain.passed_bytes = self._limit_bytes - self._left_bytes
