"""Locking a store: others read and cannot write, until it is released."""

import sqlite3

import pytest

from shipway.adapters.chaos_faults.store_lock import StoreLock
from shipway.core.errors import UnavailableError

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "state.db"
    made = sqlite3.connect(path, timeout=0, isolation_level=None)
    made.execute("PRAGMA journal_mode=WAL")
    made.execute("CREATE TABLE things (name TEXT)")
    yield path, made
    made.close()


async def test_nobody_writes_while_it_is_held_and_everybody_afterwards(store):
    path, other = store
    lock = StoreLock(path)

    await lock.take()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("INSERT INTO things VALUES ('a')")
    assert other.execute("SELECT count(*) FROM things").fetchone() == (0,)
    await lock.release()

    other.execute("INSERT INTO things VALUES ('a')")
    assert other.execute("SELECT count(*) FROM things").fetchone() == (1,)


async def test_releasing_what_was_not_taken_does_nothing(store):
    await StoreLock(store[0]).release()


async def test_a_store_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(UnavailableError, match="cannot be locked"):
        await StoreLock(tmp_path / "none.db").take()

    assert list(tmp_path.iterdir()) == []
