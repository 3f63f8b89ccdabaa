"""Versioned JSON documents in the `documents` table."""

import sqlite3
from typing import Any

import orjson

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.leases import stored_lease
from shipway.adapters.state import plain, refuse_document, refuse_fenced
from shipway.core.ports import Fence

_SELECT = 'SELECT body, version FROM documents WHERE kind = ? AND "key" = ?'
_UPDATE = 'UPDATE documents SET version = ?, body = ? WHERE kind = ? AND "key" = ?'
_INSERT = """INSERT INTO documents (kind, "key", version, body, created)
VALUES (?, ?, ?, ?, (SELECT coalesce(max(created), 0) + 1 FROM documents WHERE kind = ?))"""
# Not LIKE, which ignores case on SQLite and has wildcards.
_LIST = """SELECT "key", body, version FROM documents
WHERE kind = ? AND substr("key", 1, ?) = ? ORDER BY created LIMIT ?"""
_DELETE = 'DELETE FROM documents WHERE kind = ? AND "key" = ?'


class SqlDocuments:
    """Implements `DocumentStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, kind: str, key: str) -> tuple[dict[str, Any], int] | None:
        """Return a document and its version, or None."""
        row = await self._database.read(lambda connection: connection.execute(_SELECT, (kind, key)).fetchone())
        return None if row is None else (orjson.loads(row[0]), row[1])

    async def put(
        self,
        kind: str,
        key: str,
        body: dict[str, Any],
        *,
        expected_version: int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Write a document and return its new version.

        Raises:
            ConflictError: the stored version is not `expected_version`.
            FencedError: the lease of `fence` has a higher epoch.
            TypeError: the body has no exact JSON form.
        """
        where = f"{kind} {key!r}"
        written = orjson.dumps(plain(body, where)).decode()

        def put(connection: sqlite3.Connection) -> int:
            if fence is not None:
                refuse_fenced(where, stored_lease(connection, fence.lease), fence)
            row = connection.execute(_SELECT, (kind, key)).fetchone()
            version: int = row[1] if row else 0
            refuse_document(where, version, expected_version)
            if version:
                connection.execute(_UPDATE, (version + 1, written, kind, key))
            else:
                connection.execute(_INSERT, (kind, key, version + 1, written, kind))
            return version + 1

        return await self._database.write(put)

    async def list(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any], int]]:
        """Return (key, body, version) of a kind, in order of first writing."""
        values = (kind, len(prefix), prefix, limit)
        rows = await self._database.read(lambda connection: connection.execute(_LIST, values).fetchall())
        return [(key, orjson.loads(body), version) for key, body, version in rows]

    async def delete(self, kind: str, key: str) -> bool:
        """Remove a document; False when there was none."""
        return await self._database.write(lambda connection: connection.execute(_DELETE, (kind, key)).rowcount > 0)
