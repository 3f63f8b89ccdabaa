"""`shipway eval report`: a stored evaluation, or the file of one, in other formats."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import anyio
import pytest
import typer
from tests.integration.cli.conftest import CASES, CHAT, CHAT_PROMPT, App
from tests.integration.cli.test_gate_commands import store_evaluation
from tests.program import Done
from tests.unit.evals.report_sources import html_of, outcomes, sarif_run
from typer.main import get_command

from shipway.core.errors import ShipwayError
from shipway.entrypoints.cli.commands.eval_report import report
from shipway.entrypoints.cli.options import command_group
from shipway.entrypoints.failures import failure_of
from shipway.evals.report_files import FORMATS
from shipway.evals.report_schema import report_schema

GATE = '{ metric: correct, min: 0.2, reason: "worse is no use" }'
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "read-a-report.md"

group = command_group("As `shipway eval`.")
group.command()(report)
group.command("other")(lambda: None)


def run_report(*arguments: str) -> Done:
    """Run the command the way the program does."""
    out = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out):
        try:
            code = get_command(group).main(["report", *arguments], prog_name="eval", standalone_mode=False)
        except ShipwayError as error:
            return Done(failure_of(error).exit_code, out.getvalue(), str(error))
        except typer.Exit as left:
            code = left.exit_code
    return Done(int(code or 0), out.getvalue(), "")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[App, str]:
    """A project whose release was evaluated with two repeats."""
    app = App(tmp_path_factory.mktemp("reports") / "app")
    app.write("shipway.yaml", CHAT.replace("gates: [{ metric: correct, min: 0.2 }]\n", f"gates:\n  - {GATE}\n"))
    app.write("evals/cases.jsonl", CASES)
    app.write("prompts/chat.yaml", CHAT_PROMPT)
    made = json.loads(app.run("release", "create", "--json").out)["release"]
    anyio.run(store_evaluation, app, made)
    return app, made


def stored(stage: Any, *arguments: str) -> Done:
    return run_report(*arguments, "--project", str(stage[0].root))


@pytest.mark.parametrize("form", FORMATS)
def test_a_stored_evaluation_is_rendered_in_every_format(stage, form):
    done = stored(stage, stage[1], "--format", form)
    assert done.code == 0
    assert "PASS" in done.out


def test_an_evaluation_is_named_by_its_id_or_by_its_release(stage):
    assert stored(stage, "eval_1").out == stored(stage, stage[1]).out
    assert stored(stage, "eval_1").out.splitlines()[0] == f"eval_1: {stage[1]} against thresholds alone (first release)"


def test_a_stored_evaluation_names_the_lines_of_gates_and_cases(stage):
    body = json.loads(stored(stage, stage[1], "--json").out)
    assert body["places"]["gates"] == {"correct >= 0.2": "shipway.yaml:7"}
    assert body["places"]["cases"]["3"] == "evals/cases.jsonl:4"


def test_a_json_report_is_rendered_without_its_project(stage, tmp_path, monkeypatch):
    written = stored(stage, stage[1], "--format", "json", "--out", str(tmp_path / "report.json"))
    assert written.out == f"{tmp_path / 'report.json'}: PASS, {stage[1]} against thresholds alone (first release)\n"
    monkeypatch.chdir(tmp_path)
    html_of(run_report("report.json", "--format", "html").out)
    assert outcomes(run_report("report.json", "-f", "junit").out) == {"correct >= 0.2": "passed"}
    assert sarif_run(run_report(str(tmp_path), "-f", "sarif").out)["results"] == []


def test_cases_that_are_gone_are_named_by_their_digest_with_a_way_out(stage, tmp_path):
    app = App(stage[0].root)
    app.write("evals/cases.jsonl", CASES.replace("Say word3", "Say another word3"))
    try:
        done = stored(stage, stage[1])
    finally:
        app.write("evals/cases.jsonl", CASES)
    assert done.code == 2
    assert re.search(
        r"the cases of evaluation eval_1 are not in the project any more: .* sha256:[0-9a-f]{64}", done.err
    )
    assert "name the JSON report that was written then" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no evaluation named"),
        (["x", "--format", "pdf"], 2, "no report format 'pdf'"),
        (["x", "--format", "htm"], 2, "did you mean 'html'"),
        (["x", "--out", "no/such/folder.html"], 2, "--out: there is no folder no/such"),
        (["rel_0000000000"], 2, "rel_0000000000"),
        (
            ["eval_0"],
            2,
            "what was evaluated beside releases stays in the folder of its run",
        ),
    ],
)
def test_what_cannot_be_rendered_is_refused_with_its_reason(stage, arguments, code, message):
    done = stored(stage, *arguments)
    assert (done.code, message in done.err) == (code, True), done.err


def test_a_file_that_is_no_report_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"candidate": {}}')
    done = run_report(str(path))
    assert (done.code, "x.json: no report of an evaluation" in done.err) == (2, True)


def test_a_part_of_a_run_has_no_report(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"run": "run_1", "verdict": "partial", "shard": "1/2"}))
    done = run_report(str(tmp_path))
    assert (done.code, "run run_1 was not judged" in done.err) == (2, True)
    assert "shipway eval merge" in done.err


def test_the_schema_is_printed():
    assert json.loads(run_report("--schema").out) == report_schema()


def test_every_command_of_the_page_can_be_typed():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("shipway eval report")]
    assert len(lines) >= 6
    command = get_command(group).commands["report"]
    for line in lines:
        command.make_context("report", shlex.split(line, comments=True)[3:])
