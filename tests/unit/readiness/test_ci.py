"""What a job runs, unfolded into Makefile targets, scripts and the stages of the pipeline."""

import pytest
from tests.unit.readiness.ready_app import CI, App, both, edit, file, git, setting

from shipway.readiness.ci import Ci, ci_of
from shipway.readiness.ci_model import Event

JOB = "on: [pull_request, push]\njobs:\n  test:\n    steps: [{{ run: {} }}]\n"
PR, MAIN = Event.PULL_REQUEST, Event.MAIN


def ci(run: str, *changes) -> Ci:
    return ci_of(both(file(CI, JOB.format(run)), *changes)(App()).facts())


def commands(found: Ci) -> list[str]:
    return [str(step.command) for step in found.steps]


def stage(text: str):
    return setting("unit: { run: [python, -m, pytest, tests/unit] }", f"unit: {{ run: [pytest], {text} }}")


def test_a_pipeline_is_unfolded_into_its_stages_with_their_places():
    found = ci("shipway pipeline run")

    assert commands(found) == ["shipway pipeline run", "pytest tests/unit", "shipway eval run"]
    assert found.steps[1].where == "shipway.yaml:39 pipeline.unit"
    assert found.unclear == ()


def test_one_stage_is_one_stage():
    assert commands(ci("shipway pipeline run-stage gate --plan-digest sha256:0")) == [
        "shipway pipeline run-stage gate --plan-digest sha256:0",
        "shipway eval run",
    ]


@pytest.mark.parametrize(
    ("when", "events"),
    [
        ("when: { branches: [main] }", {MAIN}),
        ("when: { branches: [docs] }", set()),
        ("when: { events: [pull_request] }", {PR}),
        ("when: { events: [schedule] }", set()),
    ],
)
def test_a_stage_runs_at_the_events_that_it_names(when, events):
    (found,) = [step for step in ci("shipway pipeline run", stage(when)).steps if step.command.program == "pytest"]

    assert found.job.events == events


@pytest.mark.parametrize("text", ["when: { changed: [code] }", "when: { tiers: [full] }"])
def test_a_stage_that_runs_only_for_some_changes_is_told(text):
    found = ci("shipway pipeline run", stage(text))

    assert "pytest" not in commands(found)
    assert "only for some changes or tiers" in found.unclear[0]


@pytest.mark.parametrize(
    ("run", "changes", "told"),
    [
        ("shipway pipeline run --only unit", (), "a part of the pipeline"),
        ("make test", (), "no Makefile"),
        ("make test", (file("Makefile", "lint:\n\truff check .\n"),), "does not say plainly"),
        ("./ci.sh", (), "which is not read"),
        ("./ci.py", (file("ci.py", "#!/usr/bin/env python3\n"),), "which is not read"),
        ("tox", (), "which is not read"),
        ("pytest", (file("Jenkinsfile", "node {}\n"),), "Jenkinsfile is not read"),
        ("pytest", (git(prefix="services/shop"),), "a folder of a larger repository"),
        ("pytest", (file(".github/workflows/bad.yml", "on: [\n"),), "bad.yml cannot be read"),
    ],
)
def test_what_is_not_read_is_told(run, changes, told):
    assert told in " ".join(ci(run, *changes).unclear)


def test_a_script_is_read_as_its_shell_would_run_it():
    careless, careful = "pytest\necho done\n", "#!/bin/sh\nset -e\npytest\necho done\n"

    assert "pytest" not in commands(ci("bash ci.sh", file("ci.sh", careless)))
    assert "pytest" in commands(ci("./ci.sh", file("ci.sh", careful)))
    assert "pytest" in commands(ci("bash -e ci.sh", file("ci.sh", careless)))


def test_a_makefile_that_calls_itself_ends():
    found = ci("make a", file("Makefile", "a:\n\tmake a\n"))

    assert commands(found).count("make a") < 10


def test_a_line_of_a_makefile_whose_failure_is_ignored_does_not_count():
    assert commands(ci("make a", file("Makefile", "a:\n\t-pytest\n\truff check .\n"))) == ["make a", "ruff check ."]


def test_jobs_of_no_known_event_are_told_apart():
    found = ci_of(edit(CI, "  pull_request:\n", "")(App()).facts())

    assert found.on(PR) == ()
    assert found.on(MAIN) != ()
