"""Served requests in commit order and the spool's marks, in the `records` and `spool_marks` tables.

Every request becomes a row, so rows go to the driver as tuples: SQLAlchemy's own handling of parameters costs more than
the insert.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import Table, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import records, spool_marks
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

# Both clauses are the same in SQLite and in Postgres.
_SKIP_KNOWN = "ON CONFLICT (id) DO NOTHING"
_MOVE_ON = 'ON CONFLICT (file) DO UPDATE SET "offset" = excluded."offset"'

_FILES_A_STATEMENT = 500
"""Stays below the bound parameters that any build of SQLite allows (999)."""


class SqlRecords:
    """Implements `RecordStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = ""
        self._mark = ""

    async def append(self, records: Sequence[ServedRequest], *, marks: dict[str, int] | None = None) -> int:
        """Commit records and marks in one transaction; known ids are skipped."""
        rows = [_row(record) for record in records]
        async with self._database.writing() as connection:
            self._prepare(connection)
            new = (await connection.exec_driver_sql(self._insert, rows)).rowcount if rows else 0
            if marks:
                await connection.exec_driver_sql(self._mark, list(marks.items()))
        return new

    async def marks(self) -> dict[str, int]:
        """Return the committed offset of every spool file."""
        async with self._database.reading() as connection:
            rows = await connection.execute(select(spool_marks.c.file, spool_marks.c.offset))
            return {row.file: row.offset for row in rows}

    async def forget_marks(self, files: Sequence[str]) -> None:
        """Remove the marks of spool files that are gone."""
        if not files:
            return
        async with self._database.writing() as connection:
            for start in range(0, len(files), _FILES_A_STATEMENT):
                gone = files[start : start + _FILES_A_STATEMENT]
                await connection.execute(delete(spool_marks).where(spool_marks.c.file.in_(gone)))

    async def find(self, record_id: str) -> ServedRequest | None:
        """Return the record of this id."""
        async with self._database.reading() as connection:
            body = await connection.scalar(select(records.c.body).where(records.c.id == record_id))
            return None if body is None else ServedRequest.from_dict(body)

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

    def _prepare(self, connection: AsyncConnection) -> None:
        if not self._mark:
            self._insert = _statement(connection, records, (*_OWN_COLUMNS, "body"), _SKIP_KNOWN)
            self._mark = _statement(connection, spool_marks, ("file", "offset"), _MOVE_ON)


def _statement(connection: AsyncConnection, table: Table, columns: tuple[str, ...], on_conflict: str) -> str:
    """Return an insert in the words of the connection's driver, for rows in the order of `columns`."""
    plain = insert(table).inline().compile(dialect=connection.dialect, column_keys=list(columns))
    if plain.positiontup != list(columns):
        raise AssertionError(f"the driver orders {table.name} as {plain.positiontup}, not as {columns}")
    return f"{plain} {on_conflict}"


def _row(record: ServedRequest) -> tuple[Any, ...]:
    return (*_own_values(record), orjson.dumps(record).decode())
