"""Digests of files that are computed once for as long as a file is the same; `files` asks.

A file is the same while its size, its times and its inode are. A write within the same tick of the file system's clock
would go unseen, so an entry is believed only when the file had been left alone for a while when it was read; until then
it is read again each time. Git's index has the same problem and the same answer (its "racily clean" entries).
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from shipway.adapters.pipeline_store.writing import write_whole

_SCHEMA = 1
_READ_BYTES = 1 << 20
# The coarsest clock of a file system in use (FAT) ticks every two seconds.
_GRANULARITY_NS = 2_000_000_000

Signature = tuple[int, int, int, int]


class StatCache:
    """The digests of files by path; `now_ns` is the wall clock that the file system's times are compared with."""

    def __init__(self, file: Path, now_ns: Callable[[], int]) -> None:
        self._file = file
        self._now_ns = now_ns
        self._entries: dict[str, list[int | str]] = _read(file)
        self._changed = False

    def digest(self, path: Path) -> str | None:
        """Return `sha256:…` of a file's content, `+x` behind it when it may be run; None when there is no such file."""
        try:
            found = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        key, signature = os.fspath(path), _signature(found)
        known = self._entries.get(key)
        digest = str(known[-1]) if known is not None and self._believed(known, signature) else None
        if digest is None:
            digest = self._read(path, key)
        return digest + "+x" if digest and found.st_mode & stat.S_IXUSR else digest

    def save(self) -> None:
        """Write what was learnt; without it files are only read again."""
        if self._changed:
            with suppress(OSError):
                write_whole(self._file, json.dumps({"schema": _SCHEMA, "files": self._entries}).encode())
            self._changed = False

    def _believed(self, known: list[int | str], signature: Signature) -> bool:
        *there, read_at_ns, _digest = known
        newest_ns = max(signature[1], signature[2])
        return tuple(there) == signature and newest_ns + _GRANULARITY_NS < int(read_at_ns)

    def _read(self, path: Path, key: str) -> str | None:
        read_at_ns = self._now_ns()
        try:
            with path.open("rb") as file:
                before = _signature(os.fstat(file.fileno()))
                hashed = hashlib.sha256()
                while data := file.read(_READ_BYTES):
                    hashed.update(data)
                after = _signature(os.fstat(file.fileno()))
        except OSError:
            return None
        digest = "sha256:" + hashed.hexdigest()
        if before == after:
            self._entries[key] = [*after, read_at_ns, digest]
            self._changed = True
        return digest


def _signature(found: os.stat_result) -> Signature:
    # The change time cannot be set back, unlike the modification time that `cp -p` and `touch -d` set.
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(file: Path) -> dict[str, list[int | str]]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict) or document.get("schema") != _SCHEMA:
        return {}
    files = document.get("files")
    return files if isinstance(files, dict) else {}
