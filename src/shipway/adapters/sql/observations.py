"""Observations in commit order, in the `observations` table."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import orjson

from shipway.adapters.sql.engine import Database
from shipway.adapters.state import plain
from shipway.core.observation import KINDS, Observation, StoredObservation

_INSERT = """INSERT INTO observations (id, at_s, kind, environment, rollout, body)
VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"""
_FIND = "SELECT body FROM observations WHERE id = ?"
# `json_each` lets one statement take any number of kinds.
_AFTER = """SELECT position, body FROM observations
WHERE position > ? AND environment = ? AND at_s >= ? AND kind IN (SELECT value FROM json_each(?))"""
_OF_ROLLOUT = " AND rollout = ?"
_ORDER = " ORDER BY position LIMIT ?"
_LAST = "SELECT coalesce(max(position), 0) FROM observations"


class SqlObservations:
    """Implements `ObservationStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, observations: Sequence[Observation]) -> int:
        """Commit observations in one transaction; known ids are skipped."""
        rows = [_row(item) for item in observations]
        if not rows:
            return 0

        def append(connection: sqlite3.Connection) -> int:
            return connection.executemany(_INSERT, rows).rowcount

        return await self._database.write(append)

    async def find(self, observation_id: str) -> Observation | None:
        """Return the observation of this id."""
        row = await self._database.read(lambda connection: connection.execute(_FIND, (observation_id,)).fetchone())
        return None if row is None else Observation.from_dict(orjson.loads(row[0]))

    async def after(
        self,
        position: int,
        *,
        environment: str,
        rollout: str | None = None,
        kinds: Collection[str] = (),
        since_s: float | None = None,
        limit: int = 5000,
    ) -> list[StoredObservation]:
        """Return observations committed after `position`, oldest first."""
        wanted = orjson.dumps(sorted(kinds or KINDS)).decode()
        values: list[Any] = [position, environment, float("-inf") if since_s is None else since_s, wanted]
        query = _AFTER
        if rollout is not None:
            query += _OF_ROLLOUT
            values.append(rollout)
        query += _ORDER
        values.append(limit)
        rows = await self._database.read(lambda connection: connection.execute(query, values).fetchall())
        return [StoredObservation(at, Observation.from_dict(orjson.loads(body))) for at, body in rows]

    async def last_position(self) -> int:
        """Return the newest observation's position, 0 when there is none."""
        row = await self._database.read(lambda connection: connection.execute(_LAST).fetchone())
        return int(row[0])


def _row(item: Observation) -> tuple[Any, ...]:
    body = plain(item.to_dict(), f"observation {item.id!r}")
    return (item.id, item.at_s, item.kind, item.environment, item.rollout, orjson.dumps(body).decode())
