import os

import pytest

from shipway.adapters.local_process.host import LocalHost
from shipway.core.errors import StoreError, UsageError


def test_asking_whether_a_lock_is_held_writes_nothing(tmp_path):
    assert LocalHost().is_locked(tmp_path / "run" / "up.lock") is False
    assert list(tmp_path.iterdir()) == []


def test_a_held_lock_is_seen_until_it_is_given_back(tmp_path):
    host, path = LocalHost(), tmp_path / "up.lock"
    held = host.lock(path)
    assert held is not None
    assert host.is_locked(path)
    assert host.lock(path) is None

    host.unlock(held)

    assert not host.is_locked(path)


def test_a_lock_file_that_may_not_be_written_can_be_asked(tmp_path, monkeypatch):
    host, path = LocalHost(), tmp_path / "up.lock"
    held = host.lock(path)
    opened = os.open

    def read_only(name, flags, mode=0o777):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(30, "Read-only file system", str(name))
        return opened(name, flags, mode)

    monkeypatch.setattr(os, "open", read_only)

    assert host.is_locked(path)
    with pytest.raises(StoreError, match=r"up\.lock cannot be locked: the file system of .* is read-only"):
        host.lock(path)
    host.unlock(held)


def test_two_who_ask_at_once_do_not_take_each_other_for_the_holder(tmp_path, monkeypatch):
    host, path = LocalHost(), tmp_path / "up.lock"
    host.unlock(host.lock(path))
    seen = []
    close = os.close

    def ask_again(descriptor):
        if not seen:
            seen.append(None)
            seen[0] = LocalHost().is_locked(path)
        close(descriptor)

    monkeypatch.setattr(os, "close", ask_again)

    assert host.is_locked(path) is False
    assert seen == [False]


def test_a_log_that_cannot_be_written_is_named_before_anything_is_started(tmp_path):
    (tmp_path / "logs").write_text("a file where a folder should be")

    with pytest.raises(StoreError, match=r"logs/supervisor.log cannot be written"):
        LocalHost().start_detached(["supervise"], tmp_path / "logs" / "supervisor.log", tmp_path)


@pytest.mark.parametrize("port", [0, 8080])
def test_an_address_that_this_machine_lacks_is_blamed_and_not_its_ports(port):
    with pytest.raises(UsageError, match=r"server\.host 203\.0\.113\.7 is no address of this machine"):
        LocalHost().free_port("203.0.113.7", port)
    with pytest.raises(UsageError, match="is no address of this machine"):
        LocalHost().require_port("203.0.113.7", port)


def test_what_is_started_detached_has_the_variables_of_its_host_and_is_told(tmp_path, monkeypatch):
    begun = []
    host = LocalHost({"KEPT_BY": "me"}, begun.append)
    monkeypatch.setattr(host, "program", lambda: ["/bin/sh", "-c"])

    pid = host.start_detached(['echo "$KEPT_BY $PATH"'], tmp_path / "log", tmp_path)

    while host.exit_code(pid) is None:
        os.sched_yield()
    assert begun == [pid]
    assert (tmp_path / "log").read_text() == f"me {os.environ['PATH']}\n"
