"""Connections to one SQLite file; the only module that speaks SQLite's dialect. The stores beside it call `Database`.

The driver's own transaction handling is switched off and BEGIN is sent by us: a writer takes the write lock at once
(BEGIN IMMEDIATE), so that what it read cannot change before it writes.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import anyio.to_thread

from shipway.adapters.sql.faults import translated

BUSY_TIMEOUT_S = 5.0
_POOL_SIZE = 4

Found = TypeVar("Found")
Work = Callable[[sqlite3.Connection], Found]
"""What a transaction does. It runs in a thread and may run nothing but SQL."""


class Database:
    """One file under one durability: `synchronous` FULL survives a power cut, NORMAL the death of the process.

    `turn` serialises the writers of this process, because SQLite's own waiting polls and is not fair.
    """

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str,
        turn: asyncio.Lock,
        read_only: bool = False,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> None:
        self.path = path
        self._synchronous = synchronous
        self._turn = turn
        self._read_only = read_only
        self._busy_timeout_s = busy_timeout_s
        self._places = anyio.CapacityLimiter(_POOL_SIZE)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    async def read(self, work: Work[Found]) -> Found:
        """Return what `work` finds; it sees one consistent state throughout."""
        return await self._run(work, "BEGIN")

    async def write(self, work: Work[Found]) -> Found:
        """Return what `work` returns; what it changed is committed then. Any exception of it rolls all of it back."""
        async with self._turn:
            return await self._run(work, "BEGIN IMMEDIATE")

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        # In a thread: the last to close a store folds its log into the file.
        await anyio.to_thread.run_sync(self._close_idle)

    async def _run(self, work: Work[Found], begin: str) -> Found:
        with translated(self.path, self._busy_timeout_s):
            return await anyio.to_thread.run_sync(self._transaction, work, begin, limiter=self._places)

    def _transaction(self, work: Work[Found], begin: str) -> Found:
        connection = self._taken()
        try:
            connection.execute(begin)
            found = work(connection)
            connection.execute("COMMIT")
        except sqlite3.Error:
            # Closing rolls back. A fresh one is cheaper than knowing what state an error left this one in.
            connection.close()
            raise
        except BaseException:
            connection.execute("ROLLBACK")
            self._give_back(connection)
            raise
        self._give_back(connection)
        return found

    def _taken(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self.connected()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def connected(self) -> sqlite3.Connection:
        """Open a connection of this durability."""
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode={'ro' if self._read_only else 'rw'}",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys=ON")
            if not self._read_only:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={self._synchronous}")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def file_connection(
    path: Path, *, mode: str = "rw", busy_timeout_s: float = BUSY_TIMEOUT_S
) -> Iterator[sqlite3.Connection]:
    """Open a plain blocking connection, for migrations, backups and checks; `mode` is `ro`, `rw` or `rwc`.

    Raises:
        StoreError: the file cannot be opened or used.
    """
    with (
        translated(path, busy_timeout_s),
        closing(
            sqlite3.connect(
                f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=busy_timeout_s, isolation_level=None
            )
        ) as connection,
    ):
        yield connection


def file_faults(path: Path) -> list[str]:
    """Return what SQLite's own checks say against a file; empty when it is sound."""
    with file_connection(path, mode="ro") as connection:
        pages = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
        rows = connection.execute("PRAGMA foreign_key_check").fetchall()
    faults = [f"{path}: {line}" for line in pages if line != "ok"]
    return faults + [f"{path}: table {row[0]}, row {row[1]}: refers to a missing row of {row[2]}" for row in rows]


def copy_file(source: Path, target: Path) -> None:
    """Copy a store page by page while others may write to it; the copy is one consistent state."""
    with file_connection(source, mode="ro") as origin, file_connection(target, mode="rwc") as copy:
        origin.backup(copy)
        # A store that nobody has open consists of this one file then.
        copy.execute("PRAGMA journal_mode=DELETE")


def use_write_ahead_log(path: Path) -> None:
    """Let readers and a writer of a store work at the same time; the file remembers it."""
    with file_connection(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL").fetchone()


@contextmanager
def sole_user(path: Path) -> Iterator[None]:
    """Hold a store that nobody else has open.

    Leaving write-ahead mode needs to be the only connection, and it folds the log into the file.

    Raises:
        StoreError: another process has it open, or the file is damaged.
    """
    with file_connection(path, busy_timeout_s=0.0) as connection:
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
