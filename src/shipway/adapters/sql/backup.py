"""Copies of a store file: make one, put one back, check one. `shipway db backup|restore|check` call it."""

import fcntl
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from shipway.adapters.sql.engine import BUSY_TIMEOUT_S, copy_file, file_connection, file_faults, sole_user
from shipway.adapters.sql.faults import translated
from shipway.adapters.sql.revision import current, require_head
from shipway.adapters.sql.store import SqlStore
from shipway.core.errors import ConflictError, NotFoundError, StoreError

_SHARED_FIRST = 0x40000002
_SHARED_SIZE = 510
"""The bytes on which SQLite's readers hold locks. Source: SQLite's file format, "the lock-byte page"."""


async def backup(source: Path, target: Path) -> None:
    """Copy a store that may be in use, and check the copy.

    Raises:
        NotFoundError: there is no store at `source`.
        ConflictError: `target` exists.
        StoreError: the store cannot be read, the copy not be written, or the copy is not sound.
    """
    _require_store(source)
    await anyio.to_thread.run_sync(_copy_checked, source, target)


async def restore(backup_file: Path, target: Path) -> None:
    """Put a checked backup in the place of a store that no process has open.

    Raises:
        NotFoundError: there is no such backup.
        StoreError: the backup is not sound or of another schema, or a process has `target` open.
    """
    _require_store(backup_file)
    require_head(backup_file, await current(backup_file))
    await anyio.to_thread.run_sync(_replace, backup_file, target)


async def check(path: Path) -> list[str]:
    """Return what is wrong with a store, one line a fault: pages, references, schema, audit chain."""
    _require_store(path)
    try:
        faults = await anyio.to_thread.run_sync(file_faults, path)
        require_head(path, await current(path))
        store = await SqlStore.open(path, read_only=True)
    except StoreError as error:
        return [error.message]
    try:
        return faults + [f"{path}: {fault}" for fault in await store.audit.verify()]
    except StoreError as error:
        return [*faults, error.message]
    finally:
        await store.close()


def _copy_checked(source: Path, target: Path) -> None:
    with translated(target, BUSY_TIMEOUT_S), _draft_beside(target) as draft:
        try:
            target.touch(mode=0o600, exist_ok=False)
        except FileExistsError as error:
            message = f"{target} exists already; a backup never overwrites"
            raise ConflictError(message, hint="give another file name") from error
        try:
            copy_file(source, draft)
            _require_sound(draft, source)
            draft.replace(target)
        except BaseException:
            target.unlink()
            raise


def _replace(backup_file: Path, target: Path) -> None:
    with translated(target, BUSY_TIMEOUT_S), _draft_beside(target) as draft:
        copy_file(backup_file, draft)
        _require_sound(draft, backup_file)
        if target.exists():
            with _held(target):
                # A log left behind would be replayed into the restored file.
                for suffix in ("-wal", "-shm"):
                    target.with_name(target.name + suffix).unlink(missing_ok=True)
                draft.replace(target)
        else:
            draft.replace(target)


@contextmanager
def _held(target: Path) -> Iterator[None]:
    # Two ways, because the store to be replaced may be too damaged for SQLite to lock it.
    if _is_readable(target):
        try:
            with sole_user(target):
                yield
        except StoreError as error:
            raise _in_use(target) from error
        return
    with target.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
        except OSError as error:
            raise _in_use(target) from error
        yield


def _is_readable(path: Path) -> bool:
    try:
        with file_connection(path, mode="ro") as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except StoreError as error:
        cause = error.__cause__
        return not (
            isinstance(cause, sqlite3.DatabaseError)
            and cause.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
        )
    return True


def _in_use(target: Path) -> StoreError:
    return StoreError(f"{target} is in use by another process", hint="run `shipway down` first, then restore")


@contextmanager
def _draft_beside(target: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _require_sound(draft: Path, source: Path) -> None:
    faults = file_faults(draft)
    if faults:
        raise StoreError(f"{source} is damaged: {faults[0]}", hint="run `shipway db check` and use an older backup")


def _require_store(path: Path) -> None:
    if not path.is_file():
        raise NotFoundError(f"there is no store at {path}", hint="check the path")
