"""Appends lines to a file that only its owner may read and that does not grow without end.

The traces of `exporter: file` (OTLP JSON lines, which the OpenTelemetry collector's file receiver reads) and the
questions of `logging.question: restricted` go here.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from shipway.telemetry.otlp import Source, Span, breathe, to_json

_MAX_BYTES = 64 * 1024 * 1024
_SPANS_A_LINE = 64


class PrivateFile:
    """A file of lines; at `max_bytes` it becomes `NAME.1`, and the one before that is deleted."""

    def __init__(self, path: Path, *, max_bytes: int = _MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._descriptor: int | None = None
        self._size_bytes = 0

    def append(self, line: bytes) -> None:
        """Write a line with its newline.

        Raises:
            OSError: the disk did not take it.
        """
        if self._descriptor is not None and self._size_bytes + len(line) > self._max_bytes:
            self.close()
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        if self._descriptor is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
            self._size_bytes = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self._size_bytes)
            raise OSError(f"{self.path}: the disk is full")
        self._size_bytes += written

    def close(self) -> None:
        """Close it; the next line opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class TraceFile:
    """Traces as OTLP JSON lines; implements `telemetry.export.SpanTarget`."""

    def __init__(self, file: PrivateFile, source: Source) -> None:
        self._file = file
        self._source = source

    def export(self, spans: Sequence[Span]) -> int:
        """Write spans, 64 in a line; a file refuses none.

        Raises:
            OSError: the disk did not take them.
        """
        for start in range(0, len(spans), _SPANS_A_LINE):
            self._file.append(to_json(self._source, spans[start : start + _SPANS_A_LINE]) + b"\n")
            breathe()
        return 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()
