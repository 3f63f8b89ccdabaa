import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from shipway.adapters.sql.faults import store_error, translated
from shipway.adapters.sql.store import SqlStore
from shipway.core.errors import StoreError

PATH = Path("project/.shipway/state.db")


def sqlite_error(code: int, text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY])
def test_a_read_only_file_system_is_named_whatever_sqlite_calls_it(monkeypatch, code):
    found = SimpleNamespace(f_flag=os.ST_RDONLY, f_blocks=10**12, f_bavail=10**9, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: found)

    error = store_error(sqlite_error(code, "unable to open database file"), PATH, 5.0)

    assert "read-only" in error.message
    assert "writable" in error.hint


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL])
def test_a_full_disk_is_named_whatever_sqlite_calls_it(monkeypatch, code):
    found = SimpleNamespace(f_flag=0, f_blocks=10**12, f_bavail=200_000, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda path: found)

    error = store_error(sqlite_error(code, "disk I/O error"), PATH, 5.0)

    assert "the disk is full (0.2 MB free at " in error.message
    assert "make room" in error.hint


def test_an_io_error_on_a_sound_disk_points_to_the_backup():
    error = store_error(sqlite_error(sqlite3.SQLITE_IOERR, "disk I/O error"), PATH, 5.0)

    assert error.message == f"{PATH}: disk I/O error"
    assert "shipway db restore" in error.hint


def test_a_write_that_the_system_refuses_is_explained():
    with pytest.raises(StoreError, match=r"state.db cannot be used: the disk is full"), translated(PATH, 5.0):
        raise OSError(28, "No space left on device")


@pytest.mark.anyio
async def test_a_store_that_cannot_be_made_is_named_by_its_own_path_and_leaves_nothing(tmp_path, monkeypatch):
    async def full(draft: Path) -> None:
        raise StoreError(f"{draft}: the disk is full", hint="make room")

    monkeypatch.setattr("shipway.adapters.sql.migrate.upgrade", full)

    with pytest.raises(StoreError) as caught:
        await SqlStore.open(tmp_path / "state.db", create=True)

    assert str(caught.value) == f"{tmp_path / 'state.db'}: the disk is full\n  make room"
    assert list(tmp_path.iterdir()) == []
