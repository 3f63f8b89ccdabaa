"""Segment files of the spool: lines in order, locked by the worker that writes them.

A lock (flock) dies with its process, so a segment that can be locked is complete: its writer sealed it or is gone.
"""

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from shipway.adapters.spool.lines import Decoded, decoded, header_of
from shipway.core.errors import StoreError

SUFFIX = ".jsonl"
DRAFT_SUFFIX = ".new"
_DRAFT_AGE_S = 60.0
"""A younger draft may belong to a worker that is just starting."""
_LONGEST_HEADER_BYTES = 16 * 1024


class Segment:
    """A segment that this process writes or has taken over; holds its lock until closed."""

    __slots__ = ("_descriptor", "lines", "name", "path", "size_bytes")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.name = path.name
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size
        self.lines = 0

    @classmethod
    def create(cls, path: Path, header: bytes = b"") -> "Segment":
        """Create a segment that begins with `header`.

        It gets its final name only once it is locked and has its header, so that nobody takes over a file that is just
        being born.

        Raises:
            StoreError: the directory cannot be written.
        """
        draft = path.with_suffix(DRAFT_SUFFIX)
        descriptor = -1
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            segment = cls(path, descriptor)
            segment.append(header)
            draft.rename(path)
        except (OSError, StoreError) as error:
            if descriptor >= 0:
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    draft.unlink()
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise StoreError(f"{path}: cannot create the spool file: {reason}", hint="check the disk") from error
        segment.lines = 0
        return segment

    @classmethod
    def take_over(cls, path: Path) -> "Segment | None":
        """Open a complete segment; None while its writer lives and has not sealed it, or when the file is gone."""
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

    def append(self, data: bytes, lines: int = 1) -> None:
        """Write whole lines at once; nothing of them stays when it fails.

        Raises:
            StoreError: the disk did not take them.
        """
        reason = "the disk is full"
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            written, reason = 0, str(error)
        if written == len(data):
            self.size_bytes += written
            self.lines += lines
            return
        os.ftruncate(self._descriptor, self.size_bytes)
        raise StoreError(f"{self.path}: the record was not written: {reason}", hint="free some space")

    def close(self, *, remove: bool) -> None:
        """Give up the lock, and delete the file when all of it is in the store."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines of a segment: what they hold, the offset behind them, and whether the file ends there."""

    content: Decoded
    end: int
    last: bool


def read_chunk(path: Path, offset: int, limit_bytes: int, *, complete: bool) -> Chunk | None:
    """Return the lines from an offset on, about `limit_bytes` of them; None when the file is gone.

    A last line without its newline is torn when the segment is `complete`, else it is being written just now.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= offset:
                return Chunk(Decoded([], 0), offset, last=True)
            header = header_of(file.read(_LONGEST_HEADER_BYTES))
            start = max(offset, header.size_bytes)
            data = _whole_lines(file.fileno(), start, limit_bytes, size, complete=complete)
    except FileNotFoundError:
        return None
    end = start + len(data)
    return Chunk(decoded(data, header), end, last=end >= size)


def _whole_lines(descriptor: int, start: int, limit_bytes: int, size: int, *, complete: bool) -> bytes:
    while True:
        data = os.pread(descriptor, max(0, min(limit_bytes, size - start)), start)
        if complete and start + len(data) >= size:
            return data
        whole = data.rfind(b"\n") + 1
        if whole or start + len(data) >= size or not data:
            return data[:whole]
        limit_bytes *= 2  # a line longer than this; a segment's size bounds it


def segment_paths(directory: Path) -> list[Path]:
    """Return the segments of a directory, oldest first."""
    # Twenty times a second: a glob would cost more than all the rest of a look.
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except FileNotFoundError:
        return []
    return [directory / name for name in sorted(names) if name.endswith(SUFFIX)]


def sizes(directory: Path) -> dict[str, int]:
    """Return the size in bytes of every segment of a directory."""
    found = {}
    for path in segment_paths(directory):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def sweep_drafts(directory: Path) -> None:
    """Delete what workers left that died before their segment had its name: it never held a record."""
    for draft in directory.glob(f"*{DRAFT_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - draft.stat().st_mtime > _DRAFT_AGE_S:
                draft.unlink()
