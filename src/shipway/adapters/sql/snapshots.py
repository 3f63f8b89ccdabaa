"""The data-plane snapshot and what workers applied, in the `snapshots` and `workers` tables."""

import sqlite3
from dataclasses import astuple, replace
from typing import Any

import orjson

from shipway.adapters.sql.engine import Database
from shipway.adapters.state import refuse_snapshot
from shipway.core.ports import WorkerState
from shipway.core.snapshot import Snapshot

_SELECT = "SELECT body FROM snapshots WHERE environment = ?"
# The condition is in the statement itself, so that it holds on databases without one global write lock.
_REPLACE = """UPDATE snapshots SET version = ?, epoch = ?, body = ?
WHERE environment = ? AND version = ? AND epoch <= ?"""
_INSERT = "INSERT INTO snapshots (version, epoch, body, environment) VALUES (?, ?, ?, ?)"
# In the order of `WorkerState`.
_WORKERS = """SELECT worker, environment, version, epoch, at_s, dead_man_tripped, busy FROM workers
WHERE environment = ? AND at_s >= ? ORDER BY worker"""
_REPORT = """INSERT INTO workers (worker, environment, version, epoch, at_s, dead_man_tripped, busy)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (worker, environment) DO UPDATE SET version = excluded.version, epoch = excluded.epoch,
at_s = excluded.at_s, dead_man_tripped = excluded.dead_man_tripped, busy = excluded.busy"""


class SqlSnapshots:
    """Implements `SnapshotStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, environment: str) -> Snapshot:
        """Return the newest snapshot; an empty one of version 0 when none was written."""
        return await self._database.read(lambda connection: _stored(connection, environment))

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        """Replace the snapshot if it still has `expected_version` and no newer leader wrote."""
        written = replace(snapshot, version=expected_version + 1)
        body = orjson.dumps(written.to_dict()).decode()
        values = (written.version, written.epoch, body, snapshot.environment)

        def write(connection: sqlite3.Connection) -> None:
            done = connection.execute(_REPLACE, (*values, expected_version, snapshot.epoch))
            if not done.rowcount:
                refuse_snapshot(_stored(connection, snapshot.environment), snapshot, expected_version)
                connection.execute(_INSERT, values)

        await self._database.write(write)
        return written

    async def report(self, state: WorkerState) -> None:
        """Record what a worker has applied."""
        await self._database.write(lambda connection: connection.execute(_REPORT, astuple(state)))

    async def workers(self, environment: str, *, seen_after_s: float) -> list[WorkerState]:
        """Return the workers that reported since `seen_after_s`, by name."""
        values = (environment, seen_after_s)
        rows = await self._database.read(lambda connection: connection.execute(_WORKERS, values).fetchall())
        return [_worker(*row) for row in rows]


def _worker(*values: Any) -> WorkerState:
    *what, tripped, busy = values
    return replace(WorkerState(*what), dead_man_tripped=bool(tripped), busy=bool(busy))


def _stored(connection: sqlite3.Connection, environment: str) -> Snapshot:
    row = connection.execute(_SELECT, (environment,)).fetchone()
    return Snapshot(environment=environment) if row is None else Snapshot.from_dict(orjson.loads(row[0]))
