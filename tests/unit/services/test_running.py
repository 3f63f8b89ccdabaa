import errno
import json
from pathlib import Path

import pytest

from shipway.core.clock import ManualClock
from shipway.services.application import Workspace
from shipway.services.running import Running, RunRecord, read_json, write_json


class Host:
    """A machine without locks."""

    def is_locked(self, path: Path) -> bool:
        return False


def test_a_file_is_replaced_as_a_whole_and_no_temporary_stays(tmp_path):
    write_json(tmp_path / "run" / "a.json", {"a": 1})
    write_json(tmp_path / "run" / "a.json", {"a": 2})

    assert read_json(tmp_path / "run" / "a.json") == {"a": 2}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "run" / "a.json").read_text()) == {"a": 2}


def test_a_file_that_cannot_be_replaced_leaves_the_old_one_and_no_temporary(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"a": 1})

    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_json(tmp_path / "a.json", {"a": 2})

    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"app": "shop"}', '{"app": "shop", "door": 1}'])
def test_a_record_that_another_version_or_a_crash_left_is_ignored(tmp_path, content):
    workspace = Workspace(tmp_path)
    workspace.run.mkdir(parents=True)
    (workspace.run / "up.json").write_text(content)

    assert RunRecord.read(workspace) is None


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = RunRecord("shop", "staging", 12.5)
    record.write(Workspace(tmp_path))

    assert RunRecord.read(Workspace(tmp_path)) == record


@pytest.mark.anyio
async def test_looking_at_and_stopping_an_app_that_never_ran_writes_nothing(tmp_path):
    running = Running(Workspace(tmp_path), Host(), ManualClock(), 30.0)

    assert running.status().running is False
    assert await running.down() is False
    assert list(tmp_path.iterdir()) == []


class LockedHost(Host):
    """A machine on which somebody holds every lock."""

    def is_locked(self, path: Path) -> bool:
        return path.exists()


def test_records_that_nobody_collects_are_told_with_what_to_do(tmp_path):
    running = Running(Workspace(tmp_path), LockedHost(), ManualClock(), 30.0)
    assert running.backlog().trouble is None
    spool = running.workspace.spool
    spool.mkdir(parents=True)
    (spool / "gateway-0-1.000001.jsonl").write_bytes(b"x" * 1_500_000)

    told, fix = running.backlog().trouble or ("", "")

    assert told == "1.5 MB of served requests are not in the store: nobody collects them"
    assert "shipway control" in fix


def test_records_that_are_being_collected_are_told_only_when_there_are_many(tmp_path):
    running = Running(Workspace(tmp_path), LockedHost(), ManualClock(), 30.0)
    spool = running.workspace.spool
    spool.mkdir(parents=True)
    running.workspace.collector_lock.touch()
    file = spool / "gateway-0-1.000001.jsonl"
    file.write_bytes(b"x")
    assert running.backlog().trouble is None
    with file.open("r+b") as grown:
        grown.truncate(40_000_000)

    told, _ = running.backlog().trouble or ("", "")

    assert told == "40.0 MB of served requests wait for the store"
