"""Holding the lock of a SQLite store, so that nobody can write; it falls with this process at the latest."""

import sqlite3
from pathlib import Path

import anyio.to_thread

from shipway.core.errors import UnavailableError

_WAIT_S = 10.0


class StoreLock:
    """The writer's lock of one store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: sqlite3.Connection | None = None

    async def take(self) -> None:
        """Take the lock; reading goes on.

        Raises:
            UnavailableError: another writer has it for long, or there is no store.
        """
        await anyio.to_thread.run_sync(self._take)

    async def release(self) -> None:
        """Give it back."""
        await anyio.to_thread.run_sync(self._release)

    def _take(self) -> None:
        uri = f"{self._path.resolve().as_uri()}?mode=rw"
        held: sqlite3.Connection | None = None
        try:
            held = sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
            held.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if held is not None:
                held.close()
            raise UnavailableError(f"{self._path}: cannot be locked: {error}") from error
        self._held = held

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.rollback()
            held.close()
