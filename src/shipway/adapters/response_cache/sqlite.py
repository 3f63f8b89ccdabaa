"""Implements `evals.ports.ResponseCache` in an SQLite file; several evaluations may use one at a time.

What is there longest unused goes first when the file is full. A broken file costs the answers that it held and no
evaluation.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import orjson

from shipway.core.clock import Clock
from shipway.core.disk import disk_error
from shipway.core.errors import StoreError
from shipway.core.ids import Digest
from shipway.evals.attempt_lines import output_bytes, read_output
from shipway.evals.model import Output

MOST_BYTES = 1_000_000_000
MOST_ANSWER_BYTES = 1_000_000
_TIMEOUT_S = 10.0
_EVICT_EVERY = 100
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
  key TEXT PRIMARY KEY, body BLOB NOT NULL, bytes INTEGER NOT NULL, used_s REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answers_by_use ON answers (used_s);
"""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How much is kept."""

    answers: int
    bytes: int


class SqliteResponseCache:
    """Answers by the digest of their request."""

    def __init__(self, connection: sqlite3.Connection, path: Path, clock: Clock, most_bytes: int) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._most_bytes = most_bytes
        self._puts = 0
        # One thread at a time: a connection is not to be shared by more.
        self._turn = anyio.CapacityLimiter(1)

    async def get(self, key: Digest) -> Output | None:
        """Return the answer to a request, None when it is not known."""

        def read() -> bytes | None:
            row = self._connection.execute("SELECT body FROM answers WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            self._connection.execute("UPDATE answers SET used_s = ? WHERE key = ?", (self._clock.now_s(), key))
            return bytes(row[0])

        body = await self._in_thread(read)
        try:
            return None if body is None else read_output(orjson.loads(body))
        except (ValueError, TypeError, KeyError):
            # Of another version, with other fields.
            return None

    async def put(self, key: Digest, output: Output) -> None:
        """Keep an answer; errors and very long answers are not kept."""
        body = output_bytes(output)
        if output.error is not None or len(body) > MOST_ANSWER_BYTES:
            return

        def write() -> None:
            row = (key, body, len(body), self._clock.now_s())
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", row)
            self._puts += 1
            if self._puts % _EVICT_EVERY == 1:
                self._evict()

        await self._in_thread(write)

    async def stats(self) -> CacheStats:
        """Return how much is kept."""

        def read() -> CacheStats:
            row = self._connection.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM answers").fetchone()
            return CacheStats(int(row[0]), int(row[1]))

        return await self._in_thread(read)

    async def clear(self) -> CacheStats:
        """Forget everything; return how much that was."""
        found = await self.stats()

        def forget() -> None:
            self._connection.execute("DELETE FROM answers")
            self._connection.execute("VACUUM")

        await self._in_thread(forget)
        return found

    async def close(self) -> None:
        """Close the file."""
        await anyio.to_thread.run_sync(self._connection.close, limiter=self._turn)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._turn)
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error

    def _evict(self) -> None:
        total = self._connection.execute("SELECT coalesce(sum(bytes), 0) FROM answers").fetchone()[0]
        while total > self._most_bytes:
            rows = self._connection.execute("SELECT key, bytes FROM answers ORDER BY used_s LIMIT 100").fetchall()
            self._connection.executemany("DELETE FROM answers WHERE key = ?", [(key,) for key, _ in rows])
            total -= sum(size for _, size in rows)


@asynccontextmanager
async def opened_cache(path: Path, clock: Clock, *, most_bytes: int = MOST_BYTES) -> AsyncIterator[SqliteResponseCache]:
    """Open the cache of a file, which is made where there is none, and close it again.

    Raises:
        StoreError: it cannot be used.
    """

    def connect() -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        return connection

    try:
        connection = await anyio.to_thread.run_sync(connect)
    except OSError as error:
        raise disk_error(error, path, "cannot be made") from error
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    cache = SqliteResponseCache(connection, path, clock, most_bytes)
    try:
        yield cache
    finally:
        await cache.close()


def _unusable(path: Path, error: sqlite3.Error) -> StoreError:
    return StoreError(
        f"{path}: the cache of answers cannot be used: {error}",
        hint="remove the file, nothing but time is lost, or write `evals: {cache: false}`",
    )
