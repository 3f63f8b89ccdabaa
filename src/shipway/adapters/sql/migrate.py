"""Schema revisions of a store file: which it has, which it should have, and how to get there.

`SqlStore.open` checks with it, `shipway db upgrade` runs it. It drives Alembic's operations directly, so that a user
needs no alembic.ini.
"""

from pathlib import Path
from urllib.parse import quote

import anyio
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, NullPool, create_engine, event

from shipway.adapters.sql.engine import BUSY_TIMEOUT_S
from shipway.adapters.sql.faults import translated
from shipway.core.errors import NotFoundError, StoreError

_HERE = Path(__file__).parent


def head() -> str:
    """Return the revision that this version of Shipway works with."""
    revision = _directory().get_current_head()
    if revision is None:
        raise StoreError("this installation holds no schema revisions", hint="reinstall Shipway")
    return revision


async def current(path: Path) -> str | None:
    """Return a store's revision; None when the file has no schema.

    Raises:
        NotFoundError: there is no such file.
        StoreError: it cannot be read.
    """
    _require_file(path)
    return await anyio.to_thread.run_sync(_current, path)


async def upgrade(path: Path) -> tuple[str | None, str]:
    """Bring a store to the newest revision in one transaction; return the revision before and after.

    Raises:
        NotFoundError: there is no such file.
        StoreError: it is locked, damaged, or of a newer Shipway.
    """
    _require_file(path)
    return await anyio.to_thread.run_sync(_upgrade, path)


def require_head(path: Path, revision: str | None) -> None:
    """Check a store's revision.

    Raises:
        StoreError: it is older or newer than this version of Shipway.
    """
    newest = head()
    if revision == newest:
        return
    if revision is not None and revision not in _known():
        raise StoreError(
            f"{path} has schema {revision}, which is newer than {newest} of this Shipway",
            hint="upgrade Shipway: pip install --upgrade shipway",
        )
    raise StoreError(
        f"{path} has {f'schema {revision}' if revision else 'no schema'}, this Shipway needs {newest}",
        hint="run `shipway db upgrade`",
    )


def _current(path: Path) -> str | None:
    with translated(path, BUSY_TIMEOUT_S), _connected(path, "ro") as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _upgrade(path: Path) -> tuple[str | None, str]:
    directory = _directory()
    with translated(path, BUSY_TIMEOUT_S), _connected(path, "rw") as connection, connection.begin():
        context = MigrationContext.configure(connection)
        before = context.get_current_revision()
        if before is not None and before not in _known():
            require_head(path, before)
        for script in reversed(list(directory.iterate_revisions("head", before or "base"))):
            # Handed over, because Alembic's own `op` is one per process and two stores may be upgraded at once.
            script.module.upgrade(Operations(context))
            context.stamp(directory, script.revision)
    return before, head()


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
    return ScriptDirectory(str(_HERE), version_locations=[str(_HERE / "versions")])


def _known() -> set[str]:
    return {script.revision for script in _directory().walk_revisions()}


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise NotFoundError(f"there is no store at {path}", hint="`shipway up` creates one; check the path")
