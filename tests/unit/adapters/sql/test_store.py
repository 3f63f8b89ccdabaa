import asyncio
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from shipway.adapters.sql.store import SqlStore
from shipway.core.canonical import digest_bytes
from shipway.core.clock import ManualClock
from shipway.core.errors import IntegrityError, NotFoundError, StoreError
from shipway.core.ids import Digest
from shipway.core.ports import AuditEvent
from shipway.core.record import ServedRequest
from shipway.core.snapshot import KeyEntry

pytestmark = pytest.mark.anyio

EVENT = AuditEvent(at_s=1.5, actor="ada", action="deploy", subject="rel_a", details={"share": 0.1})
RECORD = ServedRequest("r1", 1.0, "p", "ask", "rel", False, 0.0, None, 1, "c", "header", "acme", "k", 200, 1.0)  # noqa: FBT003


@pytest.fixture
async def path(tmp_path):
    path = tmp_path / "home" / "state.db"
    await (await SqlStore.open(path, create=True)).close()
    return path


@pytest.fixture
async def store(path):
    opened = await SqlStore.open(path, busy_timeout_s=0.05)
    yield opened
    await opened.close()


def change(path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


async def test_a_new_store_belongs_to_its_owner_alone_and_leaves_no_draft(path):
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.glob("*.new")) + list(path.parent.glob(".*.new")) == []


async def test_a_store_that_is_not_there_is_not_created_unasked(tmp_path):
    with pytest.raises(NotFoundError, match=r"state.db"):
        await SqlStore.open(tmp_path / "state.db")
    assert list(tmp_path.iterdir()) == []


async def test_creators_at_once_end_up_with_the_same_store(tmp_path):
    stores = await asyncio.gather(*(SqlStore.open(tmp_path / "state.db", create=True) for _ in range(4)))
    await asyncio.gather(*(store.audit.append(EVENT) for store in stores))
    assert [event.seq for event in await stores[0].audit.entries()] == [1, 2, 3, 4]
    for store in stores:
        await store.close()


async def test_control_state_is_synced_fully_and_records_normally(store):
    levels = []
    for database in store._databases:
        pragmas = [f"PRAGMA {name}" for name in ("synchronous", "journal_mode", "foreign_keys")]
        levels.append(await database.write(lambda on: [on.execute(pragma).fetchone()[0] for pragma in pragmas]))  # noqa: B023
    assert levels == [[2, "wal", 1], [1, "wal", 1]]


async def test_a_store_locked_by_another_process_says_so_and_can_be_used_afterwards(path, store):
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"locked by another process for more than 0.05 s"):
            await store.audit.append(EVENT)
        with pytest.raises(StoreError, match="locked"):
            await store.records.append([RECORD])
        assert await store.audit.entries() == []
        other.execute("ROLLBACK")
    assert (await store.audit.append(EVENT)).seq == 1


async def test_a_read_only_store_reads_and_refuses_to_write(path, store):
    await store.audit.append(EVENT)
    reader = await SqlStore.open(path, read_only=True)
    try:
        assert len(await reader.audit.entries()) == 1
        with pytest.raises(StoreError, match="read-only"):
            await reader.audit.append(EVENT)
    finally:
        await reader.close()


async def test_a_full_disk_stores_nothing_of_the_change(store):
    await store._databases[0].read(lambda connection: connection.execute("PRAGMA max_page_count=1"))
    data = b"x" * 1_000_000
    with pytest.raises(StoreError, match="disk is full"):
        await store.blobs.put(data)
    with pytest.raises(NotFoundError):
        await store.blobs.get(digest_bytes(data))


async def test_a_file_that_is_no_database_is_refused_with_the_way_back(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not a database, however long it may be" * 100)
    with pytest.raises(StoreError, match=r"not a Shipway store.*\n.*shipway db restore"):
        await SqlStore.open(path)


async def test_a_path_that_cannot_be_a_file_is_a_store_error(tmp_path):
    (tmp_path / "home").write_text("a file where a directory should be")
    with pytest.raises(StoreError, match="home"):
        await SqlStore.open(tmp_path / "home" / "state.db", create=True)


async def test_a_change_that_fails_midway_leaves_nothing_and_blocks_nobody(store):
    def insert_and_fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO blobs VALUES ('d', 'x')")
        raise LookupError

    with pytest.raises(LookupError):
        await store._databases[0].write(insert_and_fail)
    assert (await store.audit.append(EVENT)).seq == 1
    with pytest.raises(NotFoundError):
        await store.blobs.get(Digest("d"))


async def test_a_writer_that_is_cancelled_while_it_waits_changes_nothing_and_blocks_nobody(store):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    first = asyncio.create_task(store._databases[0].write(slowly))
    await asyncio.to_thread(begun.wait, 10)
    waiting = asyncio.create_task(store.audit.append(EVENT))
    await asyncio.sleep(0)
    waiting.cancel()
    go_on.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await store.audit.entries() == []
    assert (await store.audit.append(EVENT)).seq == 1


async def test_a_writer_that_is_cancelled_at_work_blocks_nobody(store):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)
        connection.execute("INSERT INTO blobs VALUES ('d', 'x')")

    first = asyncio.create_task(store._databases[0].write(slowly))
    await asyncio.to_thread(begun.wait, 10)
    first.cancel()
    second = asyncio.create_task(store.audit.append(EVENT))
    await asyncio.sleep(0)
    go_on.set()
    assert (await second).seq == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_more_readers_than_connections_all_read(store):
    await store.audit.append(EVENT)
    found = await asyncio.gather(*(store.audit.entries() for _ in range(50)))
    assert [len(entries) for entries in found] == [1] * 50


async def test_a_store_that_is_closed_in_the_middle_of_a_change_lets_it_end_and_keeps_no_connection(path, store):
    begun, go_on = threading.Event(), threading.Event()

    def slowly(_connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(10)

    change_task = asyncio.create_task(store._databases[0].write(slowly))
    await asyncio.to_thread(begun.wait, 10)
    await store.close()
    go_on.set()
    await change_task
    # Only the last connection to a store takes the log along.
    assert not path.with_name("state.db-wal").exists()


async def test_a_changed_audit_row_is_found_by_its_number(path, store):
    for _ in range(3):
        await store.audit.append(EVENT)
    change(path, "UPDATE audit SET actor = 'eve' WHERE seq = 2")
    assert [fault.split(":")[0] for fault in await store.audit.verify()] == ["audit seq 2"]


async def test_a_removed_audit_row_is_found(path, store):
    for _ in range(4):
        await store.audit.append(EVENT)
    change(path, "DELETE FROM audit WHERE seq = 2")
    assert await store.audit.verify() == ["audit seq 3: entry 2 before it is missing"]


async def test_a_changed_blob_is_not_handed_out(path, store):
    digest = await store.blobs.put(b"prompt")
    change(path, "UPDATE blobs SET data = ?", b"another prompt")
    with pytest.raises(IntegrityError, match=digest):
        await store.blobs.get(digest)


async def test_a_position_is_not_given_out_again_after_pruning(path, store):
    await store.records.append([RECORD, replace(RECORD, id="r2")])
    change(path, "DELETE FROM records WHERE id = 'r2'")
    await store.records.append([replace(RECORD, id="r3")])
    assert await store.records.last_position() == 3


async def test_a_failed_append_stores_neither_records_nor_marks(path, store):
    change(path, "CREATE TRIGGER no_marks BEFORE INSERT ON spool_marks BEGIN SELECT RAISE(ABORT, 'refused'); END")
    with pytest.raises(Exception, match="refused"):
        await store.records.append([RECORD], marks={"a": 1})
    assert await store.records.last_position() == 0


async def test_the_time_of_a_revocation_is_kept(path):
    store = await SqlStore.open(path, clock=ManualClock(now_s=77.5))
    await store.keys.add(KeyEntry("k1", "ab", "acme", (), ()), created_at_s=1.0)
    await store.keys.revoke("k1")
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT revoked_at_s FROM api_keys").fetchall() == [(77.5,)]


APPENDER = """
import asyncio, sys
from pathlib import Path
from shipway.adapters.sql.store import SqlStore
from shipway.core.ports import AuditEvent

async def main():
    store = await SqlStore.open(Path(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        await store.audit.append(AuditEvent(at_s=1.0 + number, actor=sys.argv[2], action="a", subject="s"))
    await store.close()

asyncio.run(main())
"""


async def test_two_processes_append_to_one_dense_audit_chain(path, store):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(path), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        with process:
            assert process.wait(timeout=20) == 0
    events = await store.audit.entries()
    assert [event.seq for event in events] == list(range(1, 81))
    assert {event.actor for event in events} == {"one", "two"}
    assert await store.audit.verify() == []
