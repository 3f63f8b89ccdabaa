"""Faults of real processes: a child of the test is stopped, limited and killed, and nobody else."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shipway.adapters.chaos_faults.processes import LinuxProcesses
from shipway.core.errors import ConflictError, ForbiddenError

WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "ab", buffering=0) as file:
            file.write(b"x")
        print("wrote", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""


@pytest.fixture
def child(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "file")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.kill()
    process.communicate()


def wrote(child):
    child.stdin.write("\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(condition):
    deadline_s = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()


def test_a_process_whose_files_cannot_grow_fails_to_write_until_it_may_again(child):
    processes = LinuxProcesses()
    started, before = processes.started(child.pid), processes.file_size_limit(child.pid)
    assert wrote(child) == "wrote"

    assert processes.limit_file_size(child.pid, started, 0)
    assert wrote(child) == "27"  # EFBIG
    assert processes.limit_file_size(child.pid, started, before)

    assert wrote(child) == "wrote"


def test_a_stopped_process_stands_still_until_it_is_resumed(child):
    processes = LinuxProcesses()
    started = processes.started(child.pid)

    processes.stop(child.pid, started)
    assert until(lambda: state(child.pid) == "T")
    assert processes.resume(child.pid, started)

    assert wrote(child) == "wrote"


def test_a_killed_process_is_gone(child):
    processes = LinuxProcesses()

    processes.kill(child.pid, processes.started(child.pid))

    assert child.wait(30) == -signal.SIGKILL


def test_a_pid_that_belongs_to_another_process_by_now_is_not_touched(child):
    processes = LinuxProcesses()
    other = processes.started(child.pid) + 1

    for act in (processes.kill, processes.stop):
        with pytest.raises(ConflictError):
            act(child.pid, other)
        with pytest.raises(ConflictError):
            act(child.pid, 0)
    assert not processes.resume(child.pid, other)
    assert not processes.limit_file_size(child.pid, other, 0)

    assert wrote(child) == "wrote"


def test_only_who_listens_on_a_port_is_taken_for_the_one_who_does(child):
    processes = LinuxProcesses()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        processes.require_listener(os.getpid(), port)
        with pytest.raises(ForbiddenError, match=f"does not listen on port {port}"):
            processes.require_listener(child.pid, port)
    with pytest.raises(ForbiddenError):
        processes.require_listener(os.getpid(), port)
