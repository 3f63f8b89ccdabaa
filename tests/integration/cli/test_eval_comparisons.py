"""`shipway eval matrix` and `shipway eval attribute` on an app that runs, with an engine that echoes."""

import contextlib
import io
import json
from typing import Any

import pytest
import typer
from tests.integration.cli.conftest import CHAT, CHAT_PROMPT, App
from tests.program import Done
from typer.main import get_command

from shipway.core.errors import ShipwayError
from shipway.entrypoints.cli.commands.eval_attribute import attribute
from shipway.entrypoints.cli.commands.eval_matrix import matrix
from shipway.entrypoints.failures import failure_of
from shipway.entrypoints.pytest_session import Session
from shipway.testing import NotMeasuredError

CASES = "\n".join(
    json.dumps({"id": f"c{n:02}", "question": f"Say all of this again, word{n}", "must_contain": [f"word{n}"]})
    for n in range(30)
)
PROJECT = CHAT.replace(
    "gates: [{ metric: correct, min: 0.2 }]",
    "gates: [{ metric: correct, non_regression: auto }]\nserver: { port: 0 }\ndecoding: { temperature: 0, seed: 1 }",
)
SHORT = "budgets: { max_new: 2 }\n"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An app that is up, a release of it, and a later one whose answers are cut short and whose prompt changed too."""
    app = App(tmp_path_factory.mktemp("comparisons") / "app")
    app.write("shipway.yaml", PROJECT)
    app.write("evals/cases.jsonl", CASES)
    app.write("prompts/chat.yaml", CHAT_PROMPT)
    app.write("prompts/brief.yaml", CHAT_PROMPT.replace("helpful", "brief"))
    try:
        assert app.spawn("up").code == 0
        before = app.run("release", "create", "--json").json["release"]
        app.write("shipway.yaml", PROJECT + SHORT)
        app.write("prompts/chat.yaml", CHAT_PROMPT.replace("helpful", "terse"))
        after = app.run("release", "create", "--json").json["release"]
        yield app, before, after
    finally:
        app.spawn("down")


def call(app: App, *arguments: str) -> Done:
    """Run one of the two commands the way the program does."""
    group = typer.Typer()
    group.command()(matrix)
    group.command()(attribute)
    code: Any = 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        try:
            given = [*arguments, "--project", str(app.root)]
            code = get_command(group).main(given, prog_name="eval", standalone_mode=False)
        except ShipwayError as error:
            return Done(failure_of(error).exit_code, out.getvalue(), f"{error}\n{error.hint}")
        except typer.Exit as left:
            code = left.exit_code
    return Done(int(code or 0), out.getvalue(), "")


def test_a_matrix_marks_what_cannot_be_told_apart_and_what_is_worse(stage):
    app, before, _ = stage
    prompts = ("--prompt", "prompts/chat.yaml", "--prompt", "prompts/brief.yaml")

    done = call(app, "matrix", before, *prompts, "--set", "max_new=2,64", "--also", "latency_ms")

    assert done.code == 0
    rows = done.out.splitlines()
    assert rows[0] == f"4 variants of {before}, 30 cases in 30 clusters"
    marks = [row.split()[:3] for row in rows if "prompt=" in row and "max_new=" in row][:4]
    assert [mark[0] for mark in marks] == ["?", "?", "prompt=chat.yaml", "prompt=brief.yaml"]
    assert "no best by correct: prompt=chat.yaml max_new=64 leads, but prompt=brief.yaml max_new=64 cannot" in done.out


def test_a_matrix_is_one_json_document_that_names_the_best(stage):
    app, before, _ = stage

    done = call(app, "matrix", before, "--set", "max_new=2,64", "--json")

    assert done.code == 0
    assert (done.json["best"], done.json["contenders"], done.json["n"]) == ("max_new=64", ["max_new=64"], 30)
    worse = done.json["variants"][1]
    assert (worse["place"], worse["values"], worse["difference"]) == ("worse", {"max_new": 2}, -1.0)
    assert worse["difference_interval"][1] < 0


def test_a_matrix_reads_its_axes_from_a_file(stage, tmp_path):
    app, before, _ = stage
    file = tmp_path / "matrix.yaml"
    file.write_text("prompts: [prompts/chat.yaml, prompts/brief.yaml]\n")

    done = call(app, "matrix", before, "--file", str(file), "--set", "max_new=64", "--json")

    assert [one["name"] for one in done.json["variants"]] == [
        "prompt=chat.yaml max_new=64",
        "prompt=brief.yaml max_new=64",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing varies: there is one combination"),
        (("--set", "temperature"), "--set 'temperature': write KEY=VALUE,VALUE"),
        (("--set", "top-p=0,1"), "a release has no such setting; did you mean 'top_p'?"),
        (("--file", "gone.yaml"), "--file gone.yaml: cannot be read: No such file or directory"),
        (("--model", "echo", "--model", "big"), "no model 'big'"),
        (("--set", "max_new=2,64", "--metric", "corect"), "unknown metric 'corect'; did you mean 'correct'?"),
        (("--set", "max_new=2,64", "--budget-tokens", "10"), "2 releases, 30 cases and 1 repeats are estimated at"),
        (("--set", "max_new=2,64", "--budget-usd", "1"), "nobody names the price of"),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused_before_anything_is_asked(stage, arguments, said):
    app, before, _ = stage

    done = call(app, "matrix", before, *arguments)

    assert done.code == 2
    assert said in done.err


def test_a_budget_that_ends_a_matrix_is_an_error_that_says_where_the_answers_are(stage, tmp_path):
    app, before, _ = stage
    out = ("--out", str(tmp_path / "kept"))

    done = call(app, "matrix", before, "--set", "max_new=3,63", "--budget-tokens", "400", "--yes", *out)

    assert done.code == 3
    assert f"they are kept in {tmp_path / 'kept'}; go on with a larger budget" in done.err
    assert call(app, "matrix", before, "--set", "max_new=3,63", *out).code == 0


def test_the_part_that_cut_the_answers_short_is_the_culprit(stage):
    app, before, after = stage

    done = call(app, "attribute", after, "--baseline", before, "--metric", "correct")

    assert done.code == 0
    assert done.out.splitlines()[0] == f"{after} against {before}: changed are prompt, policy"
    assert f"the policy is the culprit: {before} with the new policy alone: -100.0 points;" in done.out
    assert "changed in the policy: budgets.max_new" in done.out
    assert f"`shipway release diff {before} {after}`" in done.out


def test_an_attribution_is_one_json_document(stage):
    app, before, after = stage

    done = call(app, "attribute", after, "--baseline", before, "--metric", "correct", "--json")

    (one,) = done.json["metrics"]
    assert (done.json["verdict"], one["culprit"], one["kind"], one["n_tests"]) == ("PASS", "policy", "culprit", 4)
    assert done.json["changed"] == {"prompt": ["chat.digest"], "policy": ["budgets.max_new"]}


def test_a_drop_that_is_not_there_leaves_the_exit_code_open(stage):
    app, before, after = stage

    done = call(app, "attribute", before, "--baseline", after, "--metric", "correct")

    assert done.code == 4
    assert "shows no drop against" in done.out


def test_a_release_without_an_evaluation_needs_a_metric(stage):
    app, before, after = stage

    done = call(app, "attribute", after, "--baseline", before)

    assert done.code == 2
    assert "has not been evaluated, so no gate has failed" in done.err


def test_a_release_and_a_model_are_targets_of_tests_in_pytest(stage):
    app, before, after = stage
    session = Session(app.root)
    try:
        asked = {name: session.target(name).ask("Say all of this").answer for name in (before, after, "echo")}
        with pytest.raises(NotMeasuredError, match="which judge is asked is not said, and the project has none"):
            session.judge("")
        with pytest.raises(NotMeasuredError, match="no release 'rel_0000000000000000'"):
            session.target("rel_0000000000000000")
    finally:
        session.close()

    assert asked == {before: "Say all of this", after: "Say all", "echo": "Say all of this"}
