import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import Script, ScriptDirectory

from shipway.adapters.sql import revision
from shipway.adapters.sql.migrate import upgrade
from shipway.adapters.sql.revision import current, head, known
from shipway.adapters.sql.store import SqlStore
from shipway.core.errors import NotFoundError, StoreError

pytestmark = pytest.mark.anyio


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


async def test_an_empty_file_becomes_a_store(tmp_path):
    path = tmp_path / "state.db"
    path.touch()
    assert await upgrade(path) == (None, head())
    store = await SqlStore.open(path)
    assert await store.documents.put("release", "r1", {}) == 1
    await store.close()


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


async def test_an_audit_log_with_a_repeated_action_is_upgraded_and_keeps_both_entries(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    path.touch()
    monkeypatch.setattr("shipway.adapters.sql.migrate.ScriptDirectory.iterate_revisions", only_the_first)
    await upgrade(path)
    monkeypatch.undo()
    with closing(sqlite3.connect(path)) as connection, connection:
        row = "INSERT INTO audit VALUES (?, 1.0, 'control', 'rollout.promoted', 'ro_1', ?, '', 'sha256:x')"
        for seq, details in enumerate(['{"action_id": "ro_1/1"}', '{"action_id": "ro_1/1"}', "{}"], start=1):
            connection.execute(row, (seq, details))

    assert await upgrade(path) == ("0001", head())

    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT seq, action_id FROM audit ORDER BY seq").fetchall()
    assert found == [(1, "ro_1/1"), (2, None), (3, None)]


def only_the_first(directory: ScriptDirectory, _upper: str, _lower: str) -> Iterator[Script]:
    yield directory.get_revision("0001")


def test_the_files_of_the_revisions_are_the_revisions_that_alembic_knows():
    here = Path(revision.__file__).parent
    directory = ScriptDirectory(str(here), version_locations=[str(here / "versions")])
    assert known() == [script.revision for script in reversed(list(directory.walk_revisions()))]
    assert head() == directory.get_current_head()
