"""Bring a store file to the newest schema revision; a new store is made this way, and `shipway db upgrade` runs it.

It drives Alembic's operations directly, so that a user
needs no alembic.ini.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import anyio
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError

from shipway.adapters.sql.engine import BUSY_TIMEOUT_S
from shipway.adapters.sql.faults import translated
from shipway.adapters.sql.revision import VERSIONS, head, known, require_file, require_head


async def upgrade(path: Path) -> tuple[str | None, str]:
    """Bring a store to the newest revision in one transaction; return the revision before and after.

    Raises:
        NotFoundError: there is no such file.
        StoreError: it is locked, damaged, or of a newer Shipway.
    """
    require_file(path)
    return await anyio.to_thread.run_sync(_upgrade, path)


def _upgrade(path: Path) -> tuple[str | None, str]:
    directory = _directory()
    with translated(path, BUSY_TIMEOUT_S), _plain(), _connected(path, "rw") as connection, connection.begin():
        context = MigrationContext.configure(connection)
        before = context.get_current_revision()
        if before is not None and before not in known():
            require_head(path, before)
        for script in reversed(list(directory.iterate_revisions("head", before or "base"))):
            # Handed over, because Alembic's own `op` is one per process and two stores may be upgraded at once.
            script.module.upgrade(Operations(context))
            context.stamp(directory, script.revision)
    return before, head()


@contextmanager
def _plain() -> Iterator[None]:
    """Raise SQLite's own errors instead of SQLAlchemy's around them."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.DatabaseError):
            raise error.orig from error
        raise


def _connected(path: Path, mode: str) -> Connection:
    engine = create_engine(
        URL.create("sqlite", database="file:" + quote(str(path)), query={"mode": mode, "uri": "true"}),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None},
    )
    statement = "BEGIN IMMEDIATE" if mode == "rw" else "BEGIN"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(statement))
    return engine.connect()


def _directory() -> ScriptDirectory:
    return ScriptDirectory(str(VERSIONS.parent), version_locations=[str(VERSIONS)])
