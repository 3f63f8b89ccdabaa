"""The SQL store as one object; the wiring opens it, services get its parts as ports."""

import asyncio
import os
import tempfile
from importlib import import_module
from pathlib import Path

import anyio

from shipway.adapters.sql.audit import SqlAudit
from shipway.adapters.sql.blobs import SqlBlobs
from shipway.adapters.sql.documents import SqlDocuments
from shipway.adapters.sql.engine import BUSY_TIMEOUT_S, Database, use_write_ahead_log
from shipway.adapters.sql.faults import translated
from shipway.adapters.sql.keys import SqlKeys
from shipway.adapters.sql.leases import SqlLeases
from shipway.adapters.sql.observations import SqlObservations
from shipway.adapters.sql.records import SqlRecords
from shipway.adapters.sql.revision import current, require_head
from shipway.adapters.sql.snapshots import SqlSnapshots
from shipway.core.clock import Clock, SystemClock
from shipway.core.errors import NotFoundError, StoreError


class SqlStore:
    """All state in one file: control state survives a power cut, records the death of the process."""

    def __init__(self, control: Database, hot: Database, clock: Clock) -> None:
        self._databases = (control, hot)
        self.blobs = SqlBlobs(control)
        self.audit = SqlAudit(control)
        self.snapshots = SqlSnapshots(control)
        self.leases = SqlLeases(control)
        self.keys = SqlKeys(control, clock)
        self.documents = SqlDocuments(control)
        self.records = SqlRecords(hot)
        self.observations = SqlObservations(hot)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        clock: Clock | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> "SqlStore":
        """Open a store; `create` makes an absent one, readable by its owner alone.

        Raises:
            NotFoundError: there is none and `create` is off.
            StoreError: it cannot be read, or its schema is older or newer than this Shipway's.
        """
        if not await anyio.Path(path).exists():
            if not create or read_only:
                raise NotFoundError(f"there is no store at {path}", hint="`shipway up` creates one; check the path")
            with translated(path, busy_timeout_s):
                await _create(path)
        require_head(path, await current(path))
        turn = asyncio.Lock()
        control, hot = (
            Database(path, synchronous=level, turn=turn, read_only=read_only, busy_timeout_s=busy_timeout_s)
            for level in ("FULL", "NORMAL")
        )
        return cls(control, hot, clock or SystemClock())

    async def close(self) -> None:
        """Close every connection."""
        for database in self._databases:
            await database.close()


async def _create(path: Path) -> None:
    # Built beside its place and linked there: nobody ever sees a half-made store, and of two creators one wins.
    await anyio.to_thread.run_sync(lambda: path.parent.mkdir(mode=0o700, parents=True, exist_ok=True))
    handle, name = await anyio.to_thread.run_sync(
        lambda: tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    )
    os.close(handle)
    draft = Path(name)
    try:
        # Alembic is loaded by the process that makes the store, not by each that opens it.
        migrate = await anyio.to_thread.run_sync(import_module, "shipway.adapters.sql.migrate")
        await migrate.upgrade(draft)
        await anyio.to_thread.run_sync(_publish, draft, path)
    except StoreError as error:
        # The draft is gone when somebody reads this.
        raise StoreError(error.message.replace(str(draft), str(path)), hint=error.hint) from error
    finally:
        await anyio.to_thread.run_sync(lambda: draft.unlink(missing_ok=True))


def _publish(draft: Path, path: Path) -> None:
    use_write_ahead_log(draft)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return  # another process was first; its store is as good
