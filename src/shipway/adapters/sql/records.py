"""Served requests in commit order and the spool's marks, in the `records` and `spool_marks` tables."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import records, spool_marks
from shipway.core.ports import StoredRecord
from shipway.core.record import ServedRequest

_IDS_A_QUERY = 500
"""Stays below the bound parameters that any build of SQLite allows (999)."""


class SqlRecords:
    """Implements `RecordStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, records: Sequence[ServedRequest], *, marks: dict[str, int] | None = None) -> int:
        """Commit records and marks in one transaction; known ids are skipped."""
        unique = {record.id: record for record in records}
        async with self._database.writing() as connection:
            for known in await _known_ids(connection, list(unique)):
                del unique[known]
            await _insert(connection, list(unique.values()))
            for file, offset in (marks or {}).items():
                await _mark(connection, file, offset)
        return len(unique)

    async def marks(self) -> dict[str, int]:
        """Return the committed offset of every spool file."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(spool_marks.c.file, spool_marks.c.offset))
            return {row.file: row.offset for row in rows}

    async def after(
        self, position: int, *, environment: str, rollout: str | None = None, limit: int = 5000
    ) -> list[StoredRecord]:
        """Return records committed after `position`, oldest first."""
        query = select(records.c.position, records.c.body).where(
            records.c.position > position, records.c.environment == environment
        )
        if rollout is not None:
            query = query.where(records.c.rollout == rollout)
        async with self._database.reading() as connection:
            rows = await connection.execute(query.order_by(records.c.position).limit(limit))
            return [StoredRecord(position=row.position, record=ServedRequest.from_dict(row.body)) for row in rows]

    async def last_position(self) -> int:
        """Return the newest record's position, 0 when there is none."""
        async with self._database.reading() as connection:
            return await connection.scalar(select(func.max(records.c.position))) or 0


async def _known_ids(connection: AsyncConnection, ids: list[str]) -> list[str]:
    known: list[str] = []
    for start in range(0, len(ids), _IDS_A_QUERY):
        query = select(records.c.id).where(records.c.id.in_(ids[start : start + _IDS_A_QUERY]))
        known.extend(await connection.scalars(query))
    return known


async def _insert(connection: AsyncConnection, new: list[ServedRequest]) -> None:
    if new:
        await connection.execute(insert(records), [_row(record) for record in new])


async def _mark(connection: AsyncConnection, file: str, offset: int) -> None:
    done = await connection.execute(update(spool_marks).where(spool_marks.c.file == file).values(offset=offset))
    if not done.rowcount:
        await connection.execute(insert(spool_marks).values(file=file, offset=offset))


def _row(record: ServedRequest) -> dict[str, Any]:
    return {
        "id": record.id,
        "at_s": record.at_s,
        "environment": record.environment,
        "rollout": record.rollout,
        "route": record.route,
        "release": record.release,
        "conversation": record.conversation,
        "status": record.status,
        "is_candidate": record.is_candidate,
        "body": record.to_dict(),
    }
