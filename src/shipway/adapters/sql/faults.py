"""What SQLite's errors mean to a user; the one place where driver errors become `StoreError`."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from shipway.core.errors import StoreError

_RESTORE = "run `shipway db check`, then `shipway db restore BACKUP`"
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
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.DatabaseError):
            raise store_error(error.orig, path, busy_timeout_s) from error
        raise
    except sqlite3.DatabaseError as error:
        raise store_error(error, path, busy_timeout_s) from error
    except PoolTimeoutError as error:
        raise StoreError(f"{path}: all connections are in use", hint="the machine is overloaded; try again") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}", hint="check the disk, the path and its owner") from error


def store_error(error: sqlite3.DatabaseError, path: Path, busy_timeout_s: float) -> StoreError:
    """Return the error of ours that says what happened to the store and what to do."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(
                f"{path} is locked by another process for more than {busy_timeout_s:g} s",
                hint="try again; if it stays locked, look for a backup or a second `shipway` that hangs",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return StoreError(f"{path} is read-only ({error})", hint="make the file and its directory writable")
        case sqlite3.SQLITE_FULL:
            return StoreError(f"{path}: the disk is full", hint="free some space; nothing of this change was stored")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(f"{path} is damaged or not a Shipway store ({error})", hint=_RESTORE)
        case sqlite3.SQLITE_CANTOPEN:
            return StoreError(f"{path} cannot be opened ({error})", hint="check the path, its owner and its directory")
        case _:
            return StoreError(f"{path}: {error}", hint=_RESTORE)
