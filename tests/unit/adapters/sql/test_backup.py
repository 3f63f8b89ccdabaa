import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from shipway.adapters.sql.backup import backup, check, restore
from shipway.adapters.sql.store import SqlStore
from shipway.core.errors import ConflictError, NotFoundError, StoreError
from shipway.core.ports import AuditEvent

pytestmark = pytest.mark.anyio

EVENT = AuditEvent(at_s=1.5, actor="ada", action="deploy", subject="rel_a")


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "state.db"
    store = await SqlStore.open(path, create=True)
    await store.audit.append(EVENT)
    await store.close()
    return path


async def entries(path) -> int:
    store = await SqlStore.open(path)
    try:
        return len(await store.audit.entries())
    finally:
        await store.close()


async def test_a_backup_of_a_store_in_use_holds_everything_committed(path, tmp_path):
    store = await SqlStore.open(path)
    await store.audit.append(EVENT)
    await backup(path, tmp_path / "backup.db")
    await store.close()
    assert await entries(tmp_path / "backup.db") == 2
    assert await check(tmp_path / "backup.db") == []
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600


async def test_a_backup_never_overwrites(path, tmp_path):
    (tmp_path / "backup.db").write_text("precious")
    with pytest.raises(ConflictError, match="never overwrites"):
        await backup(path, tmp_path / "backup.db")
    assert (tmp_path / "backup.db").read_text() == "precious"


async def test_a_failed_backup_leaves_no_file(tmp_path):
    source = tmp_path / "state.db"
    source.write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        await backup(source, tmp_path / "backup.db")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.db"]


async def test_a_restored_store_is_the_backup_and_nothing_of_what_came_after(path, tmp_path):
    await backup(path, tmp_path / "backup.db")
    store = await SqlStore.open(path)
    await store.audit.append(EVENT)
    await store.close()
    assert await entries(path) == 2
    await restore(tmp_path / "backup.db", path)
    assert await entries(path) == 1
    assert await check(path) == []


async def test_a_store_can_be_restored_to_a_place_where_none_is(path, tmp_path):
    await backup(path, tmp_path / "backup.db")
    await restore(tmp_path / "backup.db", tmp_path / "new.db")
    assert await entries(tmp_path / "new.db") == 1


@pytest.mark.parametrize("damage", [b"garbage" * 1000, b""])
async def test_a_damaged_store_can_be_restored(path, tmp_path, damage):
    await backup(path, tmp_path / "backup.db")
    path.write_bytes(damage)
    (tmp_path / "state.db-wal").write_bytes(b"an old log")
    await restore(tmp_path / "backup.db", path)
    assert await entries(path) == 1


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM audit").fetchall()
print("holding", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("damaged", [False, True])
async def test_a_store_that_another_process_has_open_is_not_replaced(path, tmp_path, damaged):
    await backup(path, tmp_path / "backup.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "holding\n"
        if damaged:
            with path.open("r+b") as file:
                file.write(b"garbage" * 20)
        before = path.read_bytes()
        with pytest.raises(StoreError, match="in use by another process"):
            await restore(tmp_path / "backup.db", path)
        assert path.read_bytes() == before
        holder.stdin.write("\n")


async def test_a_damaged_backup_is_not_restored(path, tmp_path):
    (tmp_path / "backup.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        await restore(tmp_path / "backup.db", path)
    assert await entries(path) == 1


async def test_a_backup_of_another_schema_is_not_restored(path, tmp_path):
    await backup(path, tmp_path / "backup.db")
    with closing(sqlite3.connect(tmp_path / "backup.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer"):
        await restore(tmp_path / "backup.db", path)


async def test_a_missing_backup_is_not_found(path, tmp_path):
    with pytest.raises(NotFoundError):
        await restore(tmp_path / "nothing.db", path)


async def test_check_names_a_broken_audit_chain(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE audit SET subject = 'rel_b'")
    assert ["audit seq 1" in fault for fault in await check(path)] == [True]


async def test_check_names_a_damaged_page(path):
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(bytes(data))
    faults = await check(path)
    assert faults
    assert all(str(path) in fault for fault in faults)


async def test_check_of_a_file_that_is_no_store_is_a_fault_not_a_crash(tmp_path):
    (tmp_path / "state.db").write_bytes(b"garbage" * 1000)
    assert ["not a Shipway store" in fault for fault in await check(tmp_path / "state.db")] == [True]
