"""Served requests in commit order and the spool's marks, in the `records` and `spool_marks` tables."""

import sqlite3
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import orjson

from shipway.adapters.sql.engine import Database
from shipway.core.ports import StoredRecord
from shipway.core.record import ServedRequest

_OWN_COLUMNS = (
    "id",
    "at_s",
    "environment",
    "rollout",
    "route",
    "release",
    "conversation",
    "status",
    "is_candidate",
)
"""What is beside the body, because a query asks for it."""
_own_values = attrgetter(*_OWN_COLUMNS)

_INSERT = """INSERT INTO records
(id, at_s, environment, rollout, route, "release", conversation, status, is_candidate, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
_MARK = """INSERT INTO spool_marks (file, "offset") VALUES (?, ?)
ON CONFLICT (file) DO UPDATE SET "offset" = excluded."offset\""""
_MARKS = 'SELECT file, "offset" FROM spool_marks'
_FORGET = "DELETE FROM spool_marks WHERE file = ?"
_FIND = "SELECT body FROM records WHERE id = ?"
_AFTER = "SELECT position, body FROM records WHERE position > ? AND environment = ? ORDER BY position LIMIT ?"
_AFTER_OF_ROLLOUT = """SELECT position, body FROM records
WHERE position > ? AND environment = ? AND rollout = ? ORDER BY position LIMIT ?"""
_LAST = "SELECT coalesce(max(position), 0) FROM records"


class SqlRecords:
    """Implements `RecordStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, records: Sequence[ServedRequest], *, marks: dict[str, int] | None = None) -> int:
        """Commit records and marks in one transaction; known ids are skipped."""
        rows, offsets = [_row(record) for record in records], list((marks or {}).items())

        def append(connection: sqlite3.Connection) -> int:
            new = connection.executemany(_INSERT, rows).rowcount if rows else 0
            connection.executemany(_MARK, offsets)
            return new

        return await self._database.write(append)

    async def marks(self) -> dict[str, int]:
        """Return the committed offset of every spool file."""
        return dict(await self._database.read(lambda connection: connection.execute(_MARKS).fetchall()))

    async def forget_marks(self, files: Sequence[str]) -> None:
        """Remove the marks of spool files that are gone."""
        if files:
            rows = [(file,) for file in files]
            await self._database.write(lambda connection: connection.executemany(_FORGET, rows))

    async def find(self, record_id: str) -> ServedRequest | None:
        """Return the record of this id."""
        row = await self._database.read(lambda connection: connection.execute(_FIND, (record_id,)).fetchone())
        return None if row is None else ServedRequest.from_dict(orjson.loads(row[0]))

    async def after(
        self, position: int, *, environment: str, rollout: str | None = None, limit: int = 5000
    ) -> list[StoredRecord]:
        """Return records committed after `position`, oldest first."""
        query, which = (_AFTER, ()) if rollout is None else (_AFTER_OF_ROLLOUT, (rollout,))
        values = (position, environment, *which, limit)
        rows = await self._database.read(lambda connection: connection.execute(query, values).fetchall())
        return [StoredRecord(position=at, record=ServedRequest.from_dict(orjson.loads(body))) for at, body in rows]

    async def last_position(self) -> int:
        """Return the newest record's position, 0 when there is none."""
        row = await self._database.read(lambda connection: connection.execute(_LAST).fetchone())
        return int(row[0])


def _row(record: ServedRequest) -> tuple[Any, ...]:
    return (*_own_values(record), orjson.dumps(record).decode())
