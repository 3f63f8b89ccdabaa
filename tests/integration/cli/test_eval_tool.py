"""`shipway eval tool` on files that the tools wrote, with the project's gates; nothing is installed or run here."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shipway.core.errors import DocumentError, NotFoundError, UnavailableError, UsageError
from shipway.entrypoints.cli.commands.eval_tool import group

RECORDED = Path(__file__).parents[2] / "unit" / "evals" / "tools" / "data"
PROJECT = """
app: small
models: { echo: { engine: echo, model: echo, max_out: 64 } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    return tmp_path


def call(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


def many(path, passes, fails):
    """A result of promptfoo with so many cases that pass and fail."""
    value = json.loads((RECORDED / "promptfoo-half.json").read_bytes())
    rows = {row["testCase"]["description"]: row for row in value["results"]["results"]}
    wanted = [rows["period"]] * passes + [rows["trains"]] * fails
    value["results"]["results"] = [
        {**row, "testIdx": place, "testCase": {**row["testCase"], "metadata": {"id": f"case-{place:03d}"}}}
        for place, row in enumerate(wanted)
    ]
    value["results"]["stats"] = {"successes": passes, "failures": fails, "errors": 0}
    path.write_text(json.dumps(value))
    return path


def test_a_file_with_failures_and_errors_is_an_error_that_says_why(project):
    done = call("read", "promptfoo", RECORDED / "promptfoo-half.json", "-p", project)

    assert done.exit_code == 3
    assert done.stdout.splitlines()[:2] == ["promptfoo 0.123.1", "  promptfoo.pass: 1 PASS, 1 FAIL, 1 ERROR"]
    assert "ERROR promptfoo/pass 'cost': API error: 500 Internal Server Error" in done.stdout
    assert done.stdout.splitlines()[-1] == "ERROR"


def test_a_file_with_failures_alone_fails(project):
    assert call("read", "deepeval", RECORDED / "deepeval-run.json", "-p", project).exit_code == 1


def test_a_gate_on_the_tools_metric_decides_with_its_bound(project):
    (project / "shipway.yaml").write_text(PROJECT + "gates: [{ metric: promptfoo.pass, min: 0.8 }]\n")

    codes = [
        call("read", "promptfoo", many(project / "r.json", passes, 100 - passes), "-p", project).exit_code
        for passes in (95, 50, 82)
    ]
    assert codes == [0, 1, 4]


def test_a_gate_against_the_release_before_needs_its_file(project):
    (project / "shipway.yaml").write_text(PROJECT + "gates: [{ metric: promptfoo.pass, non_regression: auto }]\n")
    before, after = many(project / "before.json", 100, 0), many(project / "after.json", 60, 40)

    assert call("read", "promptfoo", after, "-p", project).exit_code == 3
    assert call("read", "promptfoo", after, "--baseline", before, "-p", project).exit_code == 1


def test_one_document_is_printed_for_programs(project):
    done = call("read", "lm_eval", RECORDED / "results_2026-11-21T13-33-33.456448.json", "-p", project, "--json")

    found = json.loads(done.stdout)
    assert (found["suite"], found["tool_version"], found["verdict"]) == ("lm_eval", "0.4.13", "FAIL")
    assert found["metrics"] == {"lm_eval.exact_match": {"PASS": 2, "FAIL": 1, "ERROR": 0}}
    assert found["findings"][2]["case"] == "trains"


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("read", "promptfo", "x"), UsageError, "there is no tool 'promptfo'"),
        (("read", "ragas", "none.json"), NotFoundError, "none.json: cannot be read"),
        (("read", "inspect", RECORDED / "ragas-half.json"), DocumentError, "has no eval and status"),
        (
            ("run", "ragas", "none.jsonl", "--target", "http://127.0.0.1:9/v1"),
            NotFoundError,
            "none.jsonl: No such file",
        ),
        (
            ("run", "promptfoo", RECORDED / "promptfoo-run.json", "--target", "http://127.0.0.1:9/v1#m"),
            NotFoundError,
            "promptfoo is not installed",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(project, words, kind, said):
    done = call(*words, "-p", project)

    assert isinstance(done.exception, kind)
    assert said in str(done.exception)


def test_a_named_folder_for_tools_needs_no_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")

    done = call("install", "promptfoo", "--tools", tmp_path / "tools")
    assert isinstance(done.exception, UnavailableError)
    assert str(done.exception).startswith("npm is not there to install promptfoo")
    assert isinstance(call("install", "promptfoo").exception, NotFoundError)
