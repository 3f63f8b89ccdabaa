import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine

from shipway.adapters.sql.migrate import current, head, upgrade
from shipway.adapters.sql.store import SqlStore
from shipway.adapters.sql.tables import metadata
from shipway.core.errors import NotFoundError, StoreError

pytestmark = pytest.mark.anyio


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


async def test_the_migrated_schema_is_exactly_what_the_tables_say(tmp_path):
    path = tmp_path / "state.db"
    path.touch()
    assert await upgrade(path) == (None, head())
    with create_engine(f"sqlite:///{path}", poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


async def test_upgrading_twice_changes_nothing(tmp_path):
    path = tmp_path / "state.db"
    path.touch()
    await upgrade(path)
    assert await upgrade(path) == (head(), head())
    assert await current(path) == head()


async def test_a_file_without_schema_is_not_opened_and_the_upgrade_is_named(tmp_path):
    path = tmp_path / "state.db"
    path.touch()
    with pytest.raises(StoreError, match=r"no schema.*\n.*shipway db upgrade"):
        await SqlStore.open(path)
    await upgrade(path)
    await (await SqlStore.open(path)).close()


async def test_a_store_of_a_newer_shipway_is_neither_opened_nor_upgraded(tmp_path):
    path = tmp_path / "state.db"
    await (await SqlStore.open(path, create=True)).close()
    set_revision(path, "9999")
    with pytest.raises(StoreError, match=r"9999.*newer.*\n.*upgrade Shipway"):
        await SqlStore.open(path)
    with pytest.raises(StoreError, match="newer"):
        await upgrade(path)


async def test_a_missing_file_is_not_created_by_an_upgrade(tmp_path):
    with pytest.raises(NotFoundError):
        await upgrade(tmp_path / "state.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_path_with_characters_that_urls_use_is_taken_literally(tmp_path):
    path = tmp_path / "a?b#c%20d é" / "state.db"
    store = await SqlStore.open(path, create=True)
    await store.close()
    assert path.is_file()
    assert await current(path) == head()
