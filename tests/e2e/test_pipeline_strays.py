"""What left its stage's process group (`setsid`) ends with the run, however that is asked to end."""

import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from tests.marked import marked, none_left
from tests.program import PROGRAM, environment, run_program

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc"),
]
PATIENCE_S = 90.0
PROJECT = """app: strays
models: { main: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: main } }
pipeline:
  stay: { run: [./leave.sh, stayed, sleep, "600"], env: [MARK] }
  fail: { run: [./fail.sh], env: [MARK] }
"""
# The grandchild is there before the command goes on.
LEAVE = """#!/bin/sh
setsid sh -c 'echo yes > $0.part; mv $0.part $0; exec sleep 600' "$1" > leave.log 2>&1 &
while [ ! -e "$1" ]; do sleep 0.01; done
shift
exec "$@"
"""
FAIL = """#!/bin/sh
while [ ! -e stayed ]; do sleep 0.01; done
[ -e go ] || exec sleep 600
exit 1
"""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the variable by which the processes of a run are known."""
    value = uuid.uuid4().hex
    monkeypatch.setenv("MARK", value)
    return value


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    for name, text in (("leave.sh", LEAVE), ("fail.sh", FAIL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_leaves_nothing_that_left_a_group(
    project: Path, mark: str, number: signal.Signals
) -> None:
    running = subprocess.Popen(
        [*PROGRAM, "pipeline", "run", "--jobs", "2", "--project", str(project)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    while running.poll() is None and not (project / "stayed").exists():
        time.sleep(0.02)
    assert marked(mark)
    running.send_signal(number)
    assert running.wait(PATIENCE_S) == 128 + number
    assert none_left(mark) == []


def test_a_stage_that_is_cut_off_because_another_failed_leaves_nothing(project: Path, mark: str) -> None:
    (project / "go").touch()
    done = run_program(
        *("pipeline", "run", "--jobs", "2", "--fail-fast", "--json", "--project", str(project)), timeout_s=PATIENCE_S
    )
    assert {stage["name"]: stage["state"] for stage in done.json["stages"]} == {"stay": "cancelled", "fail": "failed"}
    assert none_left(mark) == []
