"""Segment files of the spool: one JSON line a record, locked by the worker that writes it.

A lock (flock) dies with its process, so a segment that can be locked belongs to nobody alive.
"""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from shipway.core.errors import StoreError
from shipway.core.record import ServedRequest

SUFFIX = ".jsonl"
DRAFT_SUFFIX = ".new"


class Segment:
    """A segment that this process writes or has taken over; holds its lock until closed."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.name = path.name
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, path: Path) -> "Segment":
        """Create a segment.

        It gets its final name only once it is locked, so that nobody takes over a file that is just being born.

        Raises:
            StoreError: the directory cannot be written.
        """
        draft = path.with_suffix(DRAFT_SUFFIX)
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(path)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot create the spool file: {error.strerror}", hint="check the disk"
            ) from error
        return cls(path, descriptor)

    @classmethod
    def take_over(cls, path: Path) -> "Segment | None":
        """Open a segment whose writer is gone; None while it lives or when the file is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return cls(path, descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def append(self, line: bytes) -> int:
        """Write a line at once and return the offset behind it; nothing of it stays when it fails.

        Raises:
            StoreError: the disk did not take the line.
        """
        reason = "the disk is full"
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            written, reason = 0, str(error)
        if written == len(line):
            self.size_bytes += written
            return self.size_bytes
        os.ftruncate(self._descriptor, self.size_bytes)
        raise StoreError(f"{self.path}: the record was not written: {reason}", hint="free some space")

    def read(self, offset: int) -> bytes:
        """Return everything from an offset on."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read()

    def close(self, *, remove: bool) -> None:
        """Give up the lock, and delete the file when all of it is in the store."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a segment: the offset behind it, and its record unless it cannot be read."""

    end: int
    record: ServedRequest | None


def parse(data: bytes, offset: int) -> list[Line]:
    """Return the lines of a segment's bytes, which start at `offset` in the file.

    A line without its newline was cut by a crash before it was acknowledged.
    """
    lines = []
    for raw in data.splitlines(keepends=True):
        offset += len(raw)
        lines.append(Line(end=offset, record=_record(raw)))
    return lines


def _record(raw: bytes) -> ServedRequest | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        return ServedRequest.from_dict(orjson.loads(raw))
    except (ValueError, TypeError, AttributeError):
        return None
