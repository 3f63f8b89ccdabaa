"""Versioned JSON documents in the `documents` table."""

from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, update

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import documents
from shipway.adapters.state import plain, refuse_document


class SqlDocuments:
    """Implements `DocumentStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, kind: str, key: str) -> tuple[dict[str, Any], int] | None:
        """Return a document and its version, or None."""
        query = select(documents.c.body, documents.c.version).where(_is(kind, key))
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else (row.body, row.version)

    async def put(self, kind: str, key: str, body: dict[str, Any], *, expected_version: int | None = None) -> int:
        """Write a document and return its new version.

        Raises:
            ConflictError: the stored version is not `expected_version`.
            TypeError: the body has no exact JSON form.
        """
        where = f"{kind} {key!r}"
        own = plain(body, where)
        async with self._database.writing() as connection:
            version = await connection.scalar(select(documents.c.version).where(_is(kind, key))) or 0
            refuse_document(where, version, expected_version)
            values = {"version": version + 1, "body": own}
            if version:
                await connection.execute(update(documents).where(_is(kind, key)).values(values))
            else:
                newest = await connection.scalar(select(func.max(documents.c.created)).where(documents.c.kind == kind))
                row = {"kind": kind, "key": key, "created": (newest or 0) + 1, **values}
                await connection.execute(insert(documents).values(row))
        return version + 1

    async def list(self, kind: str, *, prefix: str = "", limit: int = 1000) -> list[tuple[str, dict[str, Any], int]]:
        """Return (key, body, version) of a kind, in order of first writing."""
        query = select(documents.c.key, documents.c.body, documents.c.version).where(documents.c.kind == kind)
        if prefix:
            # Not LIKE, which ignores case on SQLite and has wildcards.
            query = query.where(func.substr(documents.c.key, 1, len(prefix)) == prefix)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(documents.c.created).limit(limit))
            return [(row.key, row.body, row.version) for row in rows]

    async def delete(self, kind: str, key: str) -> bool:
        """Remove a document; False when there was none."""
        async with self._database.writing() as connection:
            return bool((await connection.execute(delete(documents).where(_is(kind, key)))).rowcount)


def _is(kind: str, key: str) -> ColumnElement[bool]:
    return (documents.c.kind == kind) & (documents.c.key == key)
