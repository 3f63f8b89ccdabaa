"""Connections to one SQLite file; the only module that speaks SQLite's dialect. The stores beside it call `Database`.

The driver's own transaction handling is switched off and BEGIN is sent by us: a writer takes the write lock at once
(BEGIN IMMEDIATE), so that what it read cannot change before it writes.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shipway.adapters.sql.faults import translated

BUSY_TIMEOUT_S = 5.0
_POOL_SIZE = 4
_POOL_WAIT_S = 30.0
_IMMEDIATE = "shipway_immediate"


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
        self._turn = turn
        self._busy_timeout_s = busy_timeout_s
        self._engine = _engine(path, synchronous, busy_timeout_s, read_only=read_only)
        self._writer = self._engine.execution_options(**{_IMMEDIATE: True})

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a read transaction: one consistent state throughout."""
        with translated(self.path, self._busy_timeout_s):
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction; committed at the end, rolled back by any exception."""
        async with self._turn:
            with translated(self.path, self._busy_timeout_s):
                async with self._writer.begin() as connection:
                    yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _engine(path: Path, synchronous: str, busy_timeout_s: float, *, read_only: bool) -> AsyncEngine:
    engine = create_async_engine(
        URL.create(
            "sqlite+aiosqlite",
            database="file:" + quote(str(path)),
            query={"mode": "ro" if read_only else "rw", "uri": "true"},
        ),
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=_POOL_WAIT_S,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
    )

    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            # First, so that the statements after it wait for a lock as well.
            cursor.execute(f"PRAGMA busy_timeout={int(busy_timeout_s * 1000)}")
            cursor.execute("PRAGMA foreign_keys=ON")
            if not read_only:
                cursor.execute("PRAGMA journal_mode=WAL")
                cursor.execute(f"PRAGMA synchronous={synchronous}")
        finally:
            cursor.close()

    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate and not read_only else "BEGIN")

    event.listen(engine.sync_engine, "connect", configure)
    event.listen(engine.sync_engine, "begin", begin)
    return engine


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
