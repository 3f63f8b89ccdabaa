"""Which schema revision a store has and which it should have; every opening asks, so Alembic is not needed for it.

`migrate` changes revisions. The revisions are the files of `versions`, `v<revision>_<name>.py`.
"""

import sqlite3
from pathlib import Path
from urllib.parse import quote

import anyio

from shipway.adapters.sql.engine import BUSY_TIMEOUT_S
from shipway.adapters.sql.faults import translated
from shipway.core.errors import NotFoundError, StoreError

VERSIONS = Path(__file__).parent / "versions"
_TABLE = "alembic_version"


def known() -> list[str]:
    """Return the revisions of this installation, oldest first."""
    return sorted(path.stem.partition("_")[0].removeprefix("v") for path in VERSIONS.glob("v[0-9]*.py"))


def head() -> str:
    """Return the revision that this version of Shipway works with."""
    revisions = known()
    if not revisions:
        raise StoreError("this installation holds no schema revisions", hint="reinstall Shipway")
    return revisions[-1]


async def current(path: Path) -> str | None:
    """Return a store's revision; None when the file has no schema.

    Raises:
        NotFoundError: there is no such file.
        StoreError: it cannot be read.
    """
    require_file(path)
    return await anyio.to_thread.run_sync(_current, path)


def require_head(path: Path, revision: str | None) -> None:
    """Check a store's revision.

    Raises:
        StoreError: it is older or newer than this version of Shipway.
    """
    newest = head()
    if revision == newest:
        return
    if revision is not None and revision not in known():
        raise StoreError(
            f"{path} has schema {revision}, which is newer than {newest} of this Shipway",
            hint="upgrade Shipway: pip install --upgrade shipway",
        )
    raise StoreError(
        f"{path} has {f'schema {revision}' if revision else 'no schema'}, this Shipway needs {newest}",
        hint="run `shipway db upgrade`",
    )


def require_file(path: Path) -> None:
    """Check that there is a file.

    Raises:
        NotFoundError: there is none.
    """
    if not path.is_file():
        raise NotFoundError(f"there is no store at {path}", hint="`shipway up` creates one; check the path")


def _current(path: Path) -> str | None:
    with translated(path, BUSY_TIMEOUT_S):
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
        try:
            named = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone()
            row = connection.execute(f"SELECT version_num FROM {_TABLE}").fetchone() if named else None  # noqa: S608
        finally:
            connection.close()
    return str(row[0]) if row else None
