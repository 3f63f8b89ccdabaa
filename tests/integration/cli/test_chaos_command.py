"""`shipway chaos` on a project that runs: faults that are real, promises that hold, and nothing left broken."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from resource import RLIMIT_FSIZE, prlimit

import pytest
from tests.program import PROGRAM, environment
from tests.redis_server import serving_redis

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(280)]

SETTINGS = """
server: { workers: 2, drain_s: 2, llm_timeout_s: 5 }
rates: { per_key_min: 1000000 }
"""
PLAN = """
rate: 10
steady_s: 1
experiments:
  - { fault: engine-errors, for_s: 1, promises: { records: false } }
  - { fault: worker-killed, for_s: 2 }
  - { fault: disk-full, for_s: 1 }
"""


@pytest.fixture
def app(make_app, monkeypatch):
    """Start a project with a release, whose key is in the environment."""

    def started(settings=SETTINGS):
        project = make_app()
        project.write("shipway.yaml", (project.root / "shipway.yaml").read_text() + settings)
        up = project.spawn("up", "--json")
        assert up.code == 0, up.out + up.err
        monkeypatch.setenv("SHIPWAY_TARGET_KEY", json.loads(up.out)["key"]["secret"])
        release = project.run("release", "create", "--json").json["release"]
        assert project.run("deploy", release, "--override-gate", "a test").code == 0
        return project

    return started


def pids(project, name):
    found = json.loads((project.root / ".shipway" / "run" / "processes.json").read_text())["processes"]
    return [item["pid"] for item in found if item["name"].startswith(name)]


def engines(project):
    return json.loads((project.root / ".shipway" / "run" / "endpoints.json").read_text())["engines"]


def told(done):
    assert done.out, done.err
    return {item["fault"]: item for item in json.loads(done.out)["experiments"]}


def broken(item):
    return {promise["name"]: promise["message"] for promise in item["promises"] if promise["verdict"] == "FAIL"}


def until(condition, what):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def test_what_is_promised_holds_while_engine_worker_and_disk_are_broken(app, tmp_path):
    project = app()
    asked, workers = engines(project), pids(project, "gateway")
    plan = tmp_path / "chaos.yaml"
    plan.write_text(PLAN)

    done = project.run("chaos", str(plan), "--out", str(tmp_path / "chaos.json"), "--json")

    found = told(done)
    assert {fault: (item["problem"], broken(item)) for fault, item in found.items()} == {
        "engine-errors": ("", {}),
        "worker-killed": ("", {}),
        "disk-full": ("", {}),
    }
    assert done.code == 0
    # The faults were there: nobody was served while the engine failed or the disk was full.
    assert set(found["engine-errors"]["statuses"]["during"]) <= {"502", "503"}
    assert set(found["disk-full"]["statuses"]["during"]) == {"503"}
    assert pids(project, "gateway") != workers
    # And nothing of them is left.
    assert engines(project) == asked
    assert {prlimit(pid, RLIMIT_FSIZE)[0] for pid in pids(project, "gateway")} == {
        prlimit(os.getpid(), RLIMIT_FSIZE)[0]
    }
    assert [path.name for path in (project.root / ".shipway" / "chaos").iterdir()] == ["lock"]
    assert json.loads((tmp_path / "chaos.json").read_text()) == json.loads(done.out)


def test_what_a_killed_run_left_broken_is_undone_by_the_next_one(app):
    project = app()
    engine, journal = pids(project, "engine")[0], project.root / ".shipway" / "chaos" / "undo.json"
    command = [*PROGRAM, "chaos", "--fault", "engine-stuck", "--project", str(project.root)]
    killed = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment() | os.environ
    )
    try:
        until(lambda: stopped(engine), "the engine stands still")
    finally:
        killed.kill()
        killed.wait(30)
    assert stopped(engine)
    assert journal.exists()

    done = project.run("chaos", "--undo", "--json")

    assert (done.code, json.loads(done.out)["undone"]) == (0, [f"engine-stuck: process {engine} goes on"])
    assert not stopped(engine)
    assert not journal.exists()


def test_a_run_that_is_interrupted_mends_what_it_broke(app):
    project = app()
    engine = pids(project, "engine")[0]
    running = project.start("chaos", "--fault", "engine-stuck")
    try:
        until(lambda: stopped(engine), "the engine stands still")
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
        running.communicate()

    assert not stopped(engine)
    assert [path.name for path in (project.root / ".shipway" / "chaos").iterdir()] == ["lock"]


def stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.fixture
def redis(tmp_path):
    with serving_redis(tmp_path) as server:
        yield server


@pytest.mark.parametrize(("on_loss", "statuses"), [("fail_closed", {"503"}), ("local_share", {"200"})])
def test_a_lost_redis_does_what_the_project_says(app, redis, tmp_path, monkeypatch, on_loss, statuses):
    pytest.importorskip("redis")
    monkeypatch.setenv("CHAOS_REDIS", redis.url)
    project = app(f"{SETTINGS}redis: {{ url: {{ env: CHAOS_REDIS }}, on_loss: {on_loss}, timeout_s: 0.2 }}\n")
    plan = tmp_path / "chaos.yaml"
    pid = redis._process.pid
    experiment = "{ fault: redis-lost, for_s: 2, promises: { records: false } }"
    plan.write_text(f"rate: 10\nsteady_s: 1\nexperiments: [{experiment}]\nprocesses: {{ redis: {pid} }}\n")

    done = project.run("chaos", str(plan), "--json")

    found = told(done)["redis-lost"]
    assert (found["problem"], broken(found)) == ("", {})
    assert done.code == 0
    assert set(found["statuses"]["during"]) == statuses
    assert not stopped(pid)


def test_a_process_that_is_not_the_projects_redis_is_not_touched(app, redis, tmp_path, monkeypatch):
    pytest.importorskip("redis")
    monkeypatch.setenv("CHAOS_REDIS", redis.url)
    project = app(f"{SETTINGS}redis: {{ url: {{ env: CHAOS_REDIS }} }}\n")
    plan = tmp_path / "chaos.yaml"
    plan.write_text(f"experiments: [{{ fault: redis-lost }}]\nprocesses: {{ redis: {os.getpid()} }}\n")

    done = project.run("chaos", str(plan), "--json")

    assert done.code == 4
    assert told(done)["redis-lost"]["verdict"] == "NOT_CHECKED"
    assert "does not listen on port" in told(done)["redis-lost"]["reason"]


def test_nothing_is_broken_where_nothing_runs_and_without_a_key(make_app, monkeypatch):
    monkeypatch.delenv("SHIPWAY_TARGET_KEY", raising=False)
    project = make_app()

    done = project.run("chaos")

    assert done.code == 2
    assert "nothing is running here" in done.err
