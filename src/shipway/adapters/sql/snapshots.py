"""The data-plane snapshot and what workers applied, in the `snapshots` and `workers` tables."""

from dataclasses import asdict, replace

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shipway.adapters.sql.engine import Database
from shipway.adapters.sql.tables import snapshots, workers
from shipway.adapters.state import refuse_snapshot
from shipway.core.ports import WorkerState
from shipway.core.snapshot import Snapshot


class SqlSnapshots:
    """Implements `SnapshotStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, environment: str) -> Snapshot:
        """Return the newest snapshot; an empty one of version 0 when none was written."""
        async with self._database.reading() as connection:
            return await _stored(connection, environment)

    async def write(self, snapshot: Snapshot, *, expected_version: int) -> Snapshot:
        """Replace the snapshot if it still has `expected_version` and no newer leader wrote."""
        written = replace(snapshot, version=expected_version + 1)
        values = {"version": written.version, "epoch": written.epoch, "body": written.to_dict()}
        async with self._database.writing() as connection:
            # The condition is in the statement itself, so that it holds on databases without one global write lock.
            done = await connection.execute(
                update(snapshots)
                .where(
                    snapshots.c.environment == snapshot.environment,
                    snapshots.c.version == expected_version,
                    snapshots.c.epoch <= snapshot.epoch,
                )
                .values(values)
            )
            if not done.rowcount:
                refuse_snapshot(await _stored(connection, snapshot.environment), snapshot, expected_version)
                await connection.execute(insert(snapshots).values(environment=snapshot.environment, **values))
        return written

    async def report(self, state: WorkerState) -> None:
        """Record what a worker has applied."""
        values = asdict(state)
        async with self._database.writing() as connection:
            done = await connection.execute(
                update(workers)
                .where(workers.c.worker == state.worker, workers.c.environment == state.environment)
                .values(values)
            )
            if not done.rowcount:
                await connection.execute(insert(workers).values(values))

    async def workers(self, environment: str, *, seen_after_s: float) -> list[WorkerState]:
        """Return the workers that reported since `seen_after_s`, by name."""
        query = (
            select(workers)
            .where(workers.c.environment == environment, workers.c.at_s >= seen_after_s)
            .order_by(workers.c.worker)
        )
        async with self._database.reading() as connection:
            return [WorkerState(**row) for row in (await connection.execute(query)).mappings()]


async def _stored(connection: AsyncConnection, environment: str) -> Snapshot:
    body = await connection.scalar(select(snapshots.c.body).where(snapshots.c.environment == environment))
    return Snapshot(environment=environment) if body is None else Snapshot.from_dict(body)
