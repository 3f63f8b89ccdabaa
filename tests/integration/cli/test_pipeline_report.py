"""`shipway pipeline report` and `fix`, over runs of commands."""

import json
import os

import pytest

JUNIT = "<testsuite><testcase classname='a' name='b'><failure message='it broke'/></testcase></testsuite>"


@pytest.fixture
def app(make_app):
    app = make_app()
    app.write("r.xml.in", JUNIT)
    stages = """pipeline:
  checked: { run: [sh, -c, "cp r.xml.in r.xml; exit 1"], report: r.xml, allow_failure: true }
  built: { run: ["true"] }
"""
    app.edit("shipway.yaml", "pipeline: { release: { uses: release } }", stages)
    return app


def test_what_a_command_wrote_is_in_every_format(app):
    assert app.run("pipeline", "run").code == 0
    for form in ("terminal", "json", "junit", "sarif", "markdown", "html"):
        done = app.run("pipeline", "report", "--format", form)
        assert done.code == 0
        assert "it broke" in done.out
        assert "built" in done.out
    done = app.run("pipeline", "report", "-f", "html", "-o", str(app.root / "x.html"))
    assert done.out.startswith(f"{app.root / 'x.html'}: PASS, run ")
    assert (app.root / "x.html").read_text().startswith("<!doctype html>")


def test_an_older_run_is_named_by_the_end_of_its_id_and_its_file_is_not_the_newer_one(app):
    first = app.run("pipeline", "run", "--json").json["run_id"]
    app.write("r.xml.in", JUNIT.replace("it broke", "another"))
    newer = app.run("pipeline", "run", "--json")
    # The file is of the newer run: the times of both are what a file system's clock can tell apart.
    os.utime(app.root / "r.xml", (1, 1))
    assert "NOT READ: r.xml is not what this run wrote" in app.run("pipeline", "report", first[-8:]).out
    assert newer.json["run_id"] != first


def test_what_jobs_handed_on_is_a_run_too(app):
    assert app.run("pipeline", "report", "--jobs").code == 2
    app.run("pipeline", "run-stage", "built")
    report = json.loads(app.run("pipeline", "report", "--jobs", "--json").out)
    stages = {stage["stage"]: stage for stage in report["stages"]}
    assert stages["built"]["verdict"] == "PASS"
    assert stages["checked"]["problem"] == "its job left no result"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no run is kept"),
        (["nosuch"], "no run 'nosuch'"),
        (["--tell", "built"], "no run is kept"),
    ],
)
def test_without_a_run_there_is_no_report(app, arguments, said):
    done = app.run("pipeline", "report", *arguments)
    assert done.code == 2
    assert said in done.err


def test_an_unknown_format_and_a_stage_that_tells_nobody_are_refused(app):
    app.run("pipeline", "run")
    assert "did you mean 'junit'" in app.run("pipeline", "report", "-f", "junitt").err
    assert "no stage 'built' with `uses: notify`" in app.run("pipeline", "report", "--tell", "built").err


def test_fix_mends_with_the_options_of_the_stage_and_says_which_stages_can(app, tmp_path, monkeypatch):
    assert "those that can: none" in app.run("pipeline", "fix").err
    program = tmp_path / "bin" / "ruff"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > called\necho "1 file reformatted"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    app.edit("shipway.yaml", '  built: { run: ["true"] }', "  format: { uses: format, with: { paths: [src] } }")
    done = app.run("pipeline", "fix")
    assert (done.code, done.out) == (0, "format: 1 file reformatted\n")
    assert (app.root / "called").read_text() == "format -- src\n"
    assert "those that can: format" in app.run("pipeline", "fix", "checked").err
