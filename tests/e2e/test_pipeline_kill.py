"""A pipeline that is killed at any moment leaves no process behind, and is gone on with where it was.

Ten instants are drawn in the suite; SHIPWAY_PIPELINE_KILLS=50 draws fifty.
"""

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
from tests.marked import none_left
from tests.program import PROGRAM, environment, run_program

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

KILLS = int(os.environ.get("SHIPWAY_PIPELINE_KILLS", "10"))
LATEST_KILL_S = 0.9
PATIENCE_S = 60.0
# Each stage notes its start, works in a child and a grandchild, hands something on, and notes its end.
WORK = """#!/bin/sh
echo "start $SHIPWAY_STAGE" >> started.log
(sleep 0.1; sleep 0.05 & wait; echo "$SHIPWAY_STAGE of $(cat src.txt)" > "out/$SHIPWAY_STAGE.txt") &
wait
printf '{"made": "%s"}' "$SHIPWAY_STAGE" > "$SHIPWAY_OUTPUT"
"""
PROJECT = """app: killed
models: { main: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: main } }
pipeline:
  a: { run: [./work.sh], inputs: [src.txt, work.sh], outputs: [out/a.txt], env: [MARK] }
  b: { run: [./work.sh], env: [MARK] }
  c: { run: [./work.sh], needs: [a], inputs: [src.txt], outputs: [out/c.txt], env: [MARK] }
  d: { run: [./work.sh], needs: [a, b], env: [MARK] }
  e: { run: [./work.sh], needs: [c, d], outputs: [out/e.txt], env: [MARK] }
"""
STAGES = ("a", "b", "c", "d", "e")


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the variable by which the processes of a run are known."""
    value = uuid.uuid4().hex
    monkeypatch.setenv("MARK", value)
    return value


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    (tmp_path / "work.sh").write_text(WORK)
    (tmp_path / "work.sh").chmod(0o755)
    (tmp_path / "src.txt").write_text("source")
    (tmp_path / "out").mkdir()
    (tmp_path / ".gitignore").write_text("/out/\n/started.log\n/.shipway/\n")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return tmp_path


def begun(project: Path) -> subprocess.Popen[bytes]:
    """Start a run and return it once its first stage was announced."""
    running = subprocess.Popen(
        [*PROGRAM, "pipeline", "run", "--no-cache", "--project", str(project)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stderr is not None
    assert running.stderr.readline().startswith(b"running")
    return running


def recorded(project: Path) -> tuple[str, set[str]]:
    """Return the newest run and the stages that passed in it, as they stand on disk."""
    run = max((project / ".shipway/pipeline/runs").iterdir(), key=lambda path: path.name)
    lines = (run / "results.jsonl").read_bytes().splitlines() if (run / "results.jsonl").is_file() else []
    results = [json.loads(line) for line in lines if line.endswith(b"}")]
    return run.name, {result["name"] for result in results if result["state"] == "passed"}


def starts(project: Path) -> Counter[str]:
    """Return how often each stage was started."""
    log = project / "started.log"
    return Counter(log.read_text().split()[1::2] if log.exists() else ())


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_run_that_is_killed_leaves_no_process_and_goes_on_where_it_was(project: Path, mark: str, seed: int) -> None:
    running = begun(project)
    time.sleep(random.Random(seed).uniform(0, LATEST_KILL_S))
    running.kill()
    running.communicate()
    run, passed = recorded(project)
    assert none_left(mark) == []
    before = starts(project)

    if running.returncode == 0 or (project / ".shipway/pipeline/runs" / run / "report.json").is_file():
        assert passed == set(STAGES)
        return
    done = run_program("pipeline", "run", "--resume", "--json", "--project", str(project), timeout_s=PATIENCE_S)
    assert done.code == 0, done.err + done.out
    assert done.json["run_id"] == run
    # One that was killed between the cache and the run's results has been done, though the run does not know it.
    cached = {stage["name"] for stage in done.json["stages"] if stage["known"] == "cache"}
    assert cached <= {"a", "c"} - passed
    assert set(starts(project) - before) == set(STAGES) - passed - cached
    assert {stage["name"]: stage["outputs"] for stage in done.json["stages"]} == {
        name: {"made": name} for name in STAGES
    }
    for name in ("a", "c", "e"):
        assert (project / f"out/{name}.txt").read_text() == f"{name} of source\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_ends_its_stages_and_can_go_on(
    project: Path, mark: str, number: signal.Signals
) -> None:
    running = begun(project)
    running.send_signal(number)
    running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 128 + number
    assert none_left(mark) == []
    done = run_program("pipeline", "run", "--resume", "--json", "--project", str(project), timeout_s=PATIENCE_S)
    assert (done.code, done.json["verdict"]) == (0, "PASS")


def test_a_run_is_not_gone_on_with_under_another_plan(project: Path) -> None:
    running = begun(project)
    running.kill()
    running.communicate()
    text = (project / "shipway.yaml").read_text()
    (project / "shipway.yaml").write_text(text.replace("needs: [a, b]", "needs: [a]"))
    done = run_program("pipeline", "run", "--resume", "--project", str(project), timeout_s=PATIENCE_S)
    assert done.code == 2
    assert "was begun under another plan: d differ" in done.err
