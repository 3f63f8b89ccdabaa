"""`shipway pipeline` beside a run that is under way, on folders that cannot be read, and with words that are wrong."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests.integration.cli.conftest import App, run_here

from shipway.adapters.pipeline_store.lock import job_beside_no_run, only_run

PROJECT = """app: small
models: { echo: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: echo } }
pipeline:
  look: { run: [sh, -c, "LOOK"] }
  fine: { run: [echo, fine] }
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    made = App(tmp_path / "app")
    made.write("shipway.yaml", PROJECT.replace("LOOK", "echo looked"))
    return made


def test_an_empty_plan_digest_is_refused_and_runs_nothing(app: App) -> None:
    for empty in ("", " "):
        done = app.run("pipeline", "run-stage", "fine", "--plan-digest", empty)
        assert (done.code, "--plan-digest is empty, so the plan would not be compared" in done.err) == (2, True)
    assert not (app.root / ".shipway/pipeline/results").exists()
    assert app.run("pipeline", "run-stage", "fine").code == 0


def test_a_job_is_refused_while_a_run_is_under_way_and_not_while_another_job_is(app: App) -> None:
    lock = app.root / ".shipway/pipeline/lock"
    with only_run(lock):
        job, run = app.run("pipeline", "run-stage", "fine"), app.run("pipeline", "run")
    assert (job.code, job.err) == (run.code, run.err)
    assert (job.code, "another run of the pipeline is under way" in job.err) == (2, True)
    with job_beside_no_run(lock):
        assert app.run("pipeline", "run-stage", "fine").code == 0
        assert app.run("pipeline", "run").code == 2


def test_a_run_that_is_under_way_is_listed_as_running_and_others_as_what_they_came_to(app: App) -> None:
    assert app.run("pipeline", "run").code == 0
    first = app.root / ".shipway/pipeline/runs" / app.run("pipeline", "runs", "--json").json[0]["run"]
    (first / "report.json").unlink()
    command = f"{sys.executable} -m shipway.entrypoints.cli.main pipeline runs --json --project '{app.root}' > listed"
    app.edit("shipway.yaml", "echo looked", command)
    app.edit("shipway.yaml", "{ run: [sh,", "{ env: [PYTHONPATH], run: [sh,")
    assert app.run("pipeline", "run", "--only", "look").code == 0
    rows = json.loads((app.root / "listed").read_text())
    assert [row["verdict"] for row in rows] == ["running", "interrupted"]
    assert [row["verdict"] for row in app.run("pipeline", "runs", "--json").json] == ["PASS", "interrupted"]


@pytest.mark.parametrize("text", ["", "no json", "[1]", "{}", '{"begun_at_s": "then"}', '{"begun_at_s": 1e300}'])
def test_a_run_that_cannot_be_read_is_marked_and_hides_no_other(app: App, text: str) -> None:
    for _ in range(2):
        assert app.run("pipeline", "run").code == 0
    now, before = app.run("pipeline", "runs", "--json").json
    folder = app.root / ".shipway/pipeline/runs" / now["run"]
    (folder / "plan.json").write_text(text)

    done = app.run("pipeline", "runs", "--json")
    assert (done.code, done.json[1]) == (0, before)
    assert (done.json[0]["run"], done.json[0]["verdict"], done.json[0]["begun"]) == (now["run"], "unreadable", "-")
    assert f"run {now['run']} cannot be read; remove the folder {folder}" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chaos", "--fault", "nix"], "Invalid value for '--fault': 'nix' is not one of 'engine-errors',"),
        (["pipeline", "queue", "foo"], "Invalid value for 'action': 'foo' is not one of 'cancel'"),
        (["readiness", "--format", "bar"], "Invalid value for '--format': 'bar' is not one of 'text',"),
    ],
)
def test_a_choice_that_there_is_not_is_told_with_those_that_there_are(
    app: App, arguments: list[str], said: str
) -> None:
    done = app.run(*arguments)
    assert done.code == 2
    assert said in done.err
    assert "Value error" not in done.err


def test_a_plan_that_is_not_there_is_no_reason_for_a_new_project(app: App) -> None:
    for command in ("load", "chaos"):
        done = app.run(command, "nofile.yaml")
        assert (done.code, "nofile.yaml: no such file" in done.err, "init" in done.err) == (2, True, False)


def test_a_folder_that_was_removed_under_the_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = run_here("pipeline", "list")
    os.chdir(tmp_path)
    assert (done.code, "unexpected" in done.err) == (2, False)
    assert "the folder that this was called in was removed" in done.err
