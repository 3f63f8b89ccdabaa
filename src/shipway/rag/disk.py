"""What a disk that does not take a build's files means to a user; `build` and `ledger` raise their errors through this.

A build writes the ledger and a corpus directory of its own, so whatever fails here, a corpus built before is whole.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.core.disk import disk_error, free_space, obstacle, remedy
from shipway.core.errors import StoreError

_PRIMARY = 0xFF
"""SQLite's extended result codes carry the primary code in the low byte."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAKE_ROOM = "make room on that disk"
_WHOLE = "the corpus built before is whole and stays in use, and "
_GOES_ON = "the next `shipway rag build` goes on where this stopped"


@contextmanager
def disk_failures(corpora: Path, ledger: Path) -> Iterator[None]:
    """Turn failures of the body to write below `corpora` into StoreError.

    Raises:
        StoreError: which path cannot be written, why, how much room there is, and what to do.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise ledger_failure(ledger, error) from error
    except OSError as error:
        path = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else corpora
        found = disk_error(error, path, "cannot be written")
        todo = _MAKE_ROOM if error.errno in _FULL else found.hint
        raise StoreError(found.message, hint=f"{todo}; {_kept(corpora)}") from error


def ledger_failure(ledger: Path, error: sqlite3.Error) -> StoreError:
    """Return what an error of SQLite means to somebody who builds a corpus."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & _PRIMARY:
        case sqlite3.SQLITE_FULL:
            message = f"{ledger} cannot be written: the disk is full ({free_space(ledger)})"
            return StoreError(message, hint=f"{_MAKE_ROOM}; {_kept(ledger.parent)}")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreError(f"{ledger} is damaged ({error})", hint="move it away; the next build makes it anew")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreError(f"{ledger} is locked by another program", hint="end that program and build again")
        case _:
            # Of a full disk SQLite may also say no more than "disk I/O error" or "unable to open".
            hint = f"{remedy(ledger) or 'check the disk, the path and its owner'}; {_kept(ledger.parent)}"
            return StoreError(f"{ledger} cannot be written: {obstacle(ledger) or error}", hint=hint)


def _kept(corpora: Path) -> str:
    """Return what is still there: a corpus only where one was built."""
    try:
        built = any(folder.is_dir() and not folder.name.startswith(".") for folder in corpora.iterdir())
    except OSError:
        built = False
    return f"{_WHOLE if built else ''}{_GOES_ON}"
