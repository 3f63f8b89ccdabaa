"""Writes log lines from a thread of its own, so that a blocked standard output never holds up the event loop.

The gateway process opens one for its standard output: request lines are appended as bytes, all other lines come through
`text_stream()`, so that no two lines are mixed. When the reader of the output does not keep up, lines are dropped and
counted.
"""

import contextlib
import io
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO, cast

_EVERY_S = 0.05
_BATCH_LINES = 256
_MAX_LINES = 20_000


class LineWriter:
    """A bounded queue of lines in front of `write`, which may wait; `written` and `dropped` count them.

    `append` is for the event loop and costs about 0.1 µs; it never waits. Until `start` nothing is written.
    """

    def __init__(self, write: Callable[[bytes], object], *, max_lines: int = _MAX_LINES) -> None:
        self._write = write
        self._limit = max_lines
        self._lines: deque[bytes] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._started = False
        self.written = 0
        self.dropped = 0

    def append(self, line: bytes) -> None:
        """Take a line with its newline, or drop it."""
        if len(self._lines) >= self._limit:
            self.dropped += 1
        else:
            self._lines.append(line)

    def text_stream(self) -> TextIO:
        """Return a text stream whose lines go the same way."""
        return cast("TextIO", _TextLines(self))

    def start(self) -> None:
        """Begin to write."""
        self._started = True
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is left; what a blocked output does not take within `timeout_s` is dropped."""
        self._stopping.set()
        if not self._started:
            self.start()
        self._thread.join(timeout_s)
        self.dropped += len(self._lines)
        self._lines.clear()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        while self._lines:
            batch = self._taken()
            try:
                self._write(b"".join(batch))
            except OSError:
                # Nobody reads any more (EPIPE), or the disk is full: serving goes on.
                self.dropped += len(batch)
            else:
                self.written += len(batch)

    def _taken(self) -> list[bytes]:
        batch: list[bytes] = []
        with contextlib.suppress(IndexError):  # `close` may clear the queue meanwhile
            while len(batch) < _BATCH_LINES:
                batch.append(self._lines.popleft())
        return batch


def to_descriptor(descriptor: int) -> Callable[[bytes], None]:
    """Return what writes all of some bytes to a file descriptor."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    return write


class _TextLines(io.TextIOBase):
    """What `logs` writes to; it writes each line whole."""

    def __init__(self, lines: LineWriter) -> None:
        self._writer = lines

    def write(self, text: str) -> int:
        """Take a line."""
        self._writer.append(text.encode(errors="replace"))
        return len(text)
