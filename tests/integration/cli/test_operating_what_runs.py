"""What runs can be looked at, rolled back and stopped whatever became of the project file."""

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def deployed(app) -> str:
    release = app.run("release", "create", "--json").json["release"]
    assert app.run("deploy", release, "--override-gate", "a test").code == 0
    return release


def stable_now(app, release: str) -> None:
    """Make a release stable as a finished rollout would, without waiting for one."""
    path = app.root / ".shipway" / "state.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        (text,) = connection.execute("SELECT body FROM documents WHERE kind = 'label'").fetchone()
        body = json.loads(text)
        history = [*body["history"], {"release": release, "at_s": time.time(), "actor": "rollout-controller"}]
        body = json.dumps({"release": release, "history": history})
        connection.execute("UPDATE documents SET body = ?, version = version + 1 WHERE kind = 'label'", (body,))


def two_releases(app) -> tuple[str, str]:
    first = deployed(app)
    app.edit("prompts/chat.yaml", "You are helpful.", "You are kind.")
    second = app.run("release", "create", "--json").json["release"]
    stable_now(app, second)
    return first, second


BROKEN = {
    "syntax": ("pipeline:", "  broken: [\npipeline:", "shipway.yaml:8"),
    "unknown key": ("app: small", "app: small\nfoo: 1", "shipway.yaml:2: foo: unknown key"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_running_app_is_operated_while_its_project_file_is_broken(make_app, kind):
    app = make_app()
    first, second = two_releases(app)
    assert app.spawn("up").code == 0
    before, after, said = BROKEN[kind]
    app.edit("shipway.yaml", before, after)

    done = {name: app.run(*name.split()) for name in ("status --json", "logs control --json", "rollback --json")}
    again = app.run("rollback")
    down = app.run("down", "--json")

    for command in (*done.values(), down):
        assert command.code == 0, command.err
        assert command.err.startswith("shipway: warning: ")
        assert said in command.err
    assert done["status --json"].json["running"] is True
    assert (done["rollback --json"].json["from"], done["rollback --json"].json["release"]) == (second, first)
    assert again.code == 2
    assert f"shipway rollback --to {second}" in again.err
    assert down.json == {"stopped": True}
    for name in ("down", "status", "logs control", "rollback"):
        refused = app.run(*name.split())
        assert (refused.code, said in refused.err, "warning" in refused.err) == (2, True, False)


def test_an_environment_that_is_not_there_does_not_hide_what_runs(make_app, monkeypatch):
    app = make_app()
    deployed(app)
    assert app.spawn("up").code == 0
    monkeypatch.setenv("APP_ENV", "nosuch")

    status, down, nothing = app.run("status", "--json"), app.run("down"), app.run("status")

    assert (status.code, status.json["environment"], status.json["running"]) == (0, "local", True)
    assert "no configs/nosuch.yaml" in status.err
    assert down.code == 0
    assert nothing.code == 2


def test_a_project_file_that_was_removed_does_not_keep_the_app_running(make_app):
    app = make_app()
    assert app.spawn("up").code == 0
    (app.root / "shipway.yaml").unlink()

    assert app.run("down").out == "stopped\n"
    assert app.run("down").code == 2


def test_doctor_goes_on_after_a_broken_project_file(make_app):
    app = make_app()
    app.run("release", "list")
    app.edit("shipway.yaml", "app: small", "app: small\nfoo: 1")

    done, found = app.run("doctor"), app.run("doctor", "--json")

    assert done.code == 3
    assert "config     FAIL     shipway.yaml:2: foo: unknown key" in done.out
    assert {row["check"]: row["state"] for row in found.json}["audit"] == "ok"


def test_a_store_that_cannot_grow_ends_up_with_a_message_and_loses_nothing(make_app):
    app = make_app()
    script = "import sys; from shipway.entrypoints.cli.main import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "up", "--project", str(app.root)]

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, preexec_fn=small_files_only, env=os.environ, check=False
    )

    assert done.returncode == 3
    assert str(app.root / ".shipway" / "state.db") in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in (app.root / ".shipway").glob("*state.db*")] == []
    assert app.spawn("up").code == 0


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_up_that_is_interrupted_says_what_it_stopped(make_app, number, word):
    app = make_app()
    lock = app.root / ".shipway" / "run" / "up.json"
    started = app.start("up")
    end_s = time.monotonic() + 30
    while not lock.exists():
        assert time.monotonic() < end_s
        time.sleep(0.01)

    started.send_signal(number)

    said = started.communicate(timeout=60)[0].decode()
    assert f"shipway: {word}; everything that it had started is stopped; the store is kept" in said
    assert "Traceback" not in said
    assert app.run("status", "--json").json["running"] is False


def test_status_says_that_served_requests_wait_and_nobody_collects_them(make_app):
    app = make_app()
    app.run("release", "list")
    assert "records" not in app.run("status").out
    app.write(".shipway/spool/gateway-0-1.000001.jsonl", "{}\n" * 500_000)

    told, value = app.run("status"), app.run("status", "--json").json

    assert "records  1.5 MB of served requests are not in the store: nobody collects them; start" in told.out
    assert value["records"] == {"waiting_bytes": 1_500_000, "collected": False}
