"""`shipway pipeline` as a user types it: selecting, explaining, going back over runs, jobs of CI systems."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import App

STAGES = """pipeline:
  lint: { run: [sh, -c, "cat src/*.txt; echo linted"], inputs: [src] }
  build:
    run: [sh, -c, "mkdir -p dist; cat src/* > dist/all.txt; echo '{\\"size\\": 3}' > dist/m.json"]
    inputs: [src]
    outputs: [dist/all.txt]
    metrics: dist/m.json
    gate: [{ metric: size, max: 5 }]
  test: { run: [grep, -q, a, dist/all.txt], needs: [build], inputs: [dist] }
  ship: { run: [echo, shipped], needs: [test, lint], when: { events: [push], branches: [main] } }
  tell: { run: [sh, -c, "echo size is $SHIPWAY_STAGE_BUILD_SIZE"], needs: [ship] }
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    made = App(tmp_path / "app")
    head = (
        "app: small\nmodels: { echo: { engine: echo, model: echo } }\nroutes: { chat: { kind: chat, model: echo } }\n"
    )
    made.write("shipway.yaml", head + STAGES)
    made.write("src/a.txt", "a\n")
    return made


def ran(app: App, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Return the stages of a run that were neither left out nor known, with their results."""
    done = app.run("pipeline", "run", "--json", *arguments)
    assert done.code == code, done.err
    stages = done.json["stages"]
    return {stage["name"]: stage for stage in stages if stage["state"] != "skipped" and not stage["known"]}


def test_a_warm_run_runs_what_has_no_inputs_and_a_change_what_it_concerns(app: App) -> None:
    assert list(ran(app)) == ["lint", "build", "test", "tell"]
    assert list(ran(app)) == ["tell"]
    app.write("src/a.txt", "a b\n")
    assert list(ran(app)) == ["lint", "build", "test", "tell"]
    assert list(ran(app, "--no-cache")) == ["lint", "build", "test", "tell"]


def test_explain_names_what_changed_and_nothing_else(app: App) -> None:
    assert "it has not passed before" in app.run("pipeline", "explain", "build").out
    ran(app)
    assert app.run("pipeline", "explain", "build").out.startswith("build: would not run")
    app.write("src/b.txt", "new")
    app.edit("shipway.yaml", "max: 5", "max: 6")
    found = app.run("pipeline", "explain", "build", "--json").json
    assert found["state"] == "runs"
    assert found["reasons"][0] == "input src/b.txt is new"
    assert found["reasons"][1].startswith("setting gate changed from")
    assert app.run("pipeline", "explain", "ship").out == "ship: would be left out\n  runs on push, and this is manual\n"
    assert app.run("pipeline", "explain", "tst").code == 2


def test_a_dry_run_says_what_would_run_and_runs_nothing(app: App) -> None:
    ran(app)
    app.write("src/a.txt", "other")
    done = app.run("pipeline", "run", "--dry-run", "--json")
    assert {row["stage"]: row["state"] for row in done.json} == {
        "lint": "runs",
        "build": "runs",
        "test": "open",
        "ship": "left out",
        "tell": "runs",
    }
    assert len(app.run("pipeline", "runs", "--json").json) == 1


def test_a_part_of_the_pipeline_runs_on_the_results_of_before(app: App) -> None:
    refused = app.run("pipeline", "run", "--only", "tell")
    assert (refused.code, "no run has the results of" in refused.err) == (2, True)
    ran(app)
    only = ran(app, "--only", "tell")
    assert list(only) == ["tell"]
    assert only["tell"]["output_tail"] == "size is 3\n"
    assert list(ran(app, "--until", "build", "--no-cache")) == ["build"]
    assert list(ran(app, "--from", "test", "--no-cache")) == ["test", "tell"]


def test_events_branches_and_tiers_choose_stages(app: App) -> None:
    assert "ship" in ran(app, "--event", "push", "--branch", "main")
    assert "ship" not in ran(app, "--event", "push", "--branch", "feature/x")
    for option, word in (("--event", "psh"), ("--tier", "huge"), ("--changed", "code,docs")):
        done = app.run("pipeline", "run", option, word)
        assert (done.code, f"{option}: there is no" in done.err) == (2, True)


def test_a_broken_gate_fails_the_run_and_names_the_number(app: App) -> None:
    app.edit("shipway.yaml", "max: 5", "max: 2")
    build = ran(app, code=1)["build"]
    assert (build["verdict"], build["problem"]) == ("FAIL", "gate: size is 3, above 2")


def test_runs_are_listed_and_compared(app: App) -> None:
    ran(app)
    app.edit("shipway.yaml", '\\"size\\": 3', '\\"size\\": 4')
    ran(app)
    now, before = app.run("pipeline", "runs", "--json").json
    assert (now["verdict"], now["stages"], before["stages"]) == ("PASS", "3 run of 4", "4 run of 4")
    rows = app.run("pipeline", "runs", "--compare", before["run"], now["run"], "--json").json
    build = next(row for row in rows if row["stage"] == "build")
    assert build["differences"] == ["size 3 → 4", "dist/m.json differs"]


def test_logs_show_what_a_stage_printed_last(app: App) -> None:
    assert app.run("pipeline", "logs", "lint").code == 2
    ran(app)
    assert app.run("pipeline", "logs", "lint").out == "a\nlinted\n"
    assert app.run("pipeline", "logs", "lint", "-n", "1", "--json").json["lines"] == ["linted"]


def test_logs_of_a_failed_attempt_are_kept_and_shown(app: App) -> None:
    app.edit(
        "shipway.yaml", 'echo linted"]', 'echo linted $SHIPWAY_ATTEMPT; exit $((2 - SHIPWAY_ATTEMPT))"], retries: 1'
    )
    ran(app)
    assert app.run("pipeline", "logs", "lint", "--attempt", "1").out == "a\nlinted 1\n"
    assert app.run("pipeline", "logs", "lint").out == "a\nlinted 2\n"
    refused = app.run("pipeline", "logs", "lint", "--attempt", "3")
    assert (refused.code, "these have: 1, 2" in refused.err) == (2, True)


def test_a_part_is_not_built_on_files_that_somebody_changed(app: App) -> None:
    ran(app)
    app.write("dist/all.txt", "a tampered\n")
    refused = app.run("pipeline", "run", "--only", "test", "--no-cache")
    assert (refused.code, "dist/all.txt is not as stage build left it in run" in refused.err) == (2, True)
    assert "make it again: `shipway pipeline run --until build`" in refused.err
    assert (app.root / "dist/all.txt").read_text() == "a tampered\n"
    ran(app, "--until", "build")
    (app.root / "dist/all.txt").unlink()
    assert list(ran(app, "--only", "test", "--no-cache")) == ["test"]
    assert (app.root / "dist/all.txt").read_text() == "a\n"


def test_a_job_is_not_built_on_files_that_somebody_changed(app: App) -> None:
    assert app.run("pipeline", "run-stage", "build").code == 0
    app.write("dist/all.txt", "a tampered\n")
    refused = app.run("pipeline", "run-stage", "test")
    assert (refused.code, "dist/all.txt is not as stage build left it" in refused.err) == (2, True)


def test_what_is_wrong_with_inputs_is_told_before_and_after_a_run(app: App) -> None:
    app.edit("shipway.yaml", "inputs: [src] }", "inputs: [src, requirements.txt] }")
    app.edit("shipway.yaml", "needs: [build], inputs: [dist]", "needs: [build], inputs: [dits]")
    note = "inputs: 'requirements.txt' matches no file"
    assert note in app.run("pipeline", "explain", "lint").out
    dry = app.run("pipeline", "run", "--dry-run").out
    assert note in dry
    assert "dits" not in dry  # the stage before it may still make that
    done = app.run("pipeline", "run")
    assert f"lint: {note}" in done.out
    assert (done.code, "inputs: no file matches 'dits', so nothing would decide the result" in done.out) == (3, True)


def test_cleaning_lets_go_of_runs_and_of_the_cache(app: App) -> None:
    ran(app)
    ran(app)
    done = app.run("pipeline", "clean", "--keep", "1", "--max-mb", "0", "--json")
    assert done.json["runs"] == 1
    assert done.json["freed_bytes"] > 0
    assert list(ran(app)) == ["lint", "build", "test", "tell"]


def digest(app: App) -> str:
    return str(app.run("pipeline", "graph", "--json").json["digest"])


def test_a_job_runs_its_stage_with_the_results_of_the_jobs_before(app: App) -> None:
    refused = app.run("pipeline", "run-stage", "test", "--plan-digest", digest(app))
    assert (refused.code, "stage 'build', which 'test' builds on, left no result" in refused.err) == (2, True)
    for name in ("lint", "build", "test"):
        assert app.run("pipeline", "run-stage", name, "--plan-digest", digest(app)).code == 0
    # `ship` has conditions: without a result it was left out.
    done = app.run("pipeline", "run-stage", "tell", "--plan-digest", digest(app))
    assert (done.code, "size is 3" in done.err) == (0, True)


def test_a_job_of_another_plan_is_refused(app: App) -> None:
    compiled = digest(app)
    app.edit("shipway.yaml", "grep, -q", "grep")
    done = app.run("pipeline", "run-stage", "lint", "--plan-digest", compiled)
    assert (done.code, "the job was compiled from" in done.err) == (2, True)


@pytest.mark.parametrize("text", ["", "{", '{"name": "other", "state": "passed", "verdict": "PASS"}'])
def test_a_result_that_is_none_is_refused(app: App, text: str) -> None:
    app.write(".shipway/pipeline/results/build.json", text)
    assert app.run("pipeline", "run-stage", "test").code == 3


@pytest.mark.parametrize("shard", ["2", "0/2", "3/2", "1/3", "x"])
def test_a_part_that_a_stage_does_not_have_is_refused(app: App, shard: str) -> None:
    assert app.run("pipeline", "run-stage", "lint", "--shard", shard).code == 2


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (
            "x: { uses: relase }",
            "shipway.yaml:{line}: pipeline.x.uses: 'relase' is not built in; did you mean 'release'?",
        ),
        ("x: { uses: release, with: { a: 1 } }", "pipeline.x.with.a: unknown option of release; its options: none"),
    ],
)
def test_a_built_in_that_is_not_there_is_named_with_its_line(app: App, stage: str, said: str) -> None:
    line = len((app.root / "shipway.yaml").read_text().splitlines()) + 1
    app.edit("shipway.yaml", "needs: [ship] }\n", f"needs: [ship] }}\n  {stage}\n")
    done = app.run("pipeline", "list")
    assert (done.code, said.format(line=line) in done.err) == (2, True), done.err


def test_the_graph_is_a_tree_and_a_diagram(app: App) -> None:
    assert "  test  (needs build)" in app.run("pipeline", "graph").out
    assert "  build --> test" in app.run("pipeline", "graph", "--mermaid").out


def test_every_built_in_is_listed(app: App) -> None:
    names = {row["name"] for row in app.run("pipeline", "list", "--builtins", "--json").json}
    assert {"rag-build", "release", "evaluate", "deploy"} <= names


def test_a_run_is_a_document_of_the_registry(app: App) -> None:
    ran(app)
    folder = next((app.root / ".shipway/pipeline/runs").iterdir())
    assert json.loads((folder / "report.json").read_text())["verdict"] == "PASS"


def test_bytes_that_are_no_text_end_in_log_and_report_as_replacements(app: App) -> None:
    app.edit("shipway.yaml", "echo linted", r"printf '\\377\\033[31m'")
    assert "\ufffd" in ran(app)["lint"]["output_tail"]
    assert "\x1b" not in app.run("pipeline", "logs", "lint").out
