"""What SQLite's errors mean to a user; the one place where driver errors become `StoreError`."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.core.disk import disk_error, free_space, obstacle, remedy
from shipway.core.errors import StoreError

_RESTORE = "run `shipway db check`, then `shipway db restore BACKUP`"
_MAKE_ROOM = (
    "make room on that disk and run the command again; nothing of this change was stored, what was before is intact"
)
_PRIMARY = 0xFF
"""SQLite's extended result codes carry the primary code in the low byte."""


@contextmanager
def translated(path: Path, busy_timeout_s: float) -> Iterator[None]:
    """Turn driver errors of the body into StoreError.

    Raises:
        StoreError: locked, read-only, full, damaged, or another failure of the database.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise store_error(error, path, busy_timeout_s) from error
    except OSError as error:
        raise disk_error(error, path, "cannot be used") from error


def store_error(error: sqlite3.DatabaseError, path: Path, busy_timeout_s: float) -> StoreError:
    """Return the error of ours that says what happened to the store and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    message, hint = _meaning(code, error, path, busy_timeout_s)
    return StoreError(message, hint=hint)


def _meaning(code: int, error: sqlite3.DatabaseError, path: Path, busy_timeout_s: float) -> tuple[str, str]:
    seen, remedy_seen = obstacle(path), remedy(path)
    message, hint = f"{path}: {error}", _RESTORE
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            message = f"{path} is locked by another process for more than {busy_timeout_s:g} s"
            hint = "try again; if it stays locked, look for a backup or a second `shipway` that hangs"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            message = f"{path} is read-only ({seen or error})"
            hint = "make the file and its directory writable"
        case sqlite3.SQLITE_FULL:
            message = f"{path}: the disk is full ({free_space(path)})"
            hint = _MAKE_ROOM
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            message = f"{path} is damaged or not a Shipway store ({error})"
        case sqlite3.SQLITE_CANTOPEN:
            message = f"{path} cannot be opened: {seen or error}"
            hint = remedy_seen or "check the path, its owner and its directory"
        case sqlite3.SQLITE_IOERR if seen:
            # The index of the write-ahead log is a file of its own; SQLite says no more than "disk I/O error" of it.
            message, hint = f"{path}: {seen} ({error})", remedy_seen
    return message, hint
