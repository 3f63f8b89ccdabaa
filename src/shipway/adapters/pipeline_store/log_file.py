"""What a stage prints, on disk and bounded: the beginning as it comes, the end when the stage has ended.

A stage may print a gigabyte: the file then holds the first megabytes, a line that says how much is missing, and the
last ones. `runs` makes one for each attempt.
"""

import os
from pathlib import Path

from shipway.pipeline.tail import TAIL_BYTES, OutputTail

HEAD_BYTES = 8 * 1024 * 1024


class LoggedTail(OutputTail):
    """An output's tail that also goes to a file; a disk that is full ends the file, not the stage."""

    def __init__(self, file: Path, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        super().__init__(tail_bytes)
        self._file = file
        self._left_bytes = head_bytes
        self._descriptor: int | None = None
        self._unwritten_bytes = 0

    def feed(self, data: bytes) -> None:
        """Add to the end."""
        super().feed(data)
        written = self._write(data[: self._left_bytes]) if self._left_bytes else 0
        self._left_bytes -= written
        self._unwritten_bytes += len(data) - written

    def close(self) -> None:
        """End the file: what it does not hold is said, and its end follows."""
        if self._unwritten_bytes:
            end = self.last(min(self._unwritten_bytes, self.limit_bytes))
            missing = self._unwritten_bytes - len(end)
            note = f"\n[{missing} bytes between this and the end were not kept]\n".encode() if missing else b""
            self._write(note + end)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, data: bytes) -> int:
        if not data:
            return 0
        try:
            if self._descriptor is None:
                # Opened with the first byte: most stages of most runs print nothing that anybody looks at.
                self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            return os.write(self._descriptor, data)
        except OSError:
            self._left_bytes = 0
            return 0
