"""`shipway gate`: what gates can see, how often they would err, and what they found, after an evaluation."""

import contextlib
import io
import json
from dataclasses import asdict
from typing import Any

import anyio
import pytest
import typer
from tests.integration.cli.conftest import CASES, CHAT, CHAT_PROMPT, App
from tests.program import Done
from typer.main import get_command

from shipway.core.canonical import canonical_json
from shipway.core.errors import ShipwayError
from shipway.entrypoints.cli.commands.gate import group
from shipway.entrypoints.failures import failure_of
from shipway.entrypoints.wiring import opened
from shipway.evals.baseline import NO_JUDGE, bind
from shipway.evals.dataset import parse_dataset
from shipway.evals.gates import GateOptions, evaluate_gates
from shipway.evals.model import Binding, CaseResult, Dataset, RunReport
from shipway.evals.report_forms import as_json, run_as_json
from shipway.services.gates import gate_specs

GATES = """gates:
  - { metric: correct, min: 0.2, reason: "worse is no use" }
  - { metric: latency_ms, non_regression: 0.5, mode: relative }
"""


def gate(app: Any, *arguments: str) -> Done:
    """Run a command of the group the way the program does."""
    out = io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out):
        try:
            given = [*arguments, "--project", str(app.root)]
            code = get_command(group).main(given, prog_name="gate", standalone_mode=False)
        except ShipwayError as error:
            return Done(failure_of(error).exit_code, out.getvalue(), str(error))
        except typer.Exit as left:
            code = left.exit_code
    return Done(int(code or 0), out.getvalue(), "")


def a_run(dataset: Dataset, target: str, binding: Binding) -> RunReport:
    """Two answers to each case, of which the second is wrong in every third case."""
    results = tuple(
        CaseResult(
            case.id,
            repeat,
            {"correct": float(not (repeat and row % 3 == 0)), "latency_ms": 100.0 + row + 2 * repeat},
        )
        for row, case in enumerate(dataset.cases)
        for repeat in range(2)
    )
    return RunReport(target, target, dataset, 2, results, binding)


async def store_evaluation(app: App, release: str) -> None:
    """Store what `shipway eval run` stores, without asking anybody."""
    async with opened(app.root) as here:
        dataset = parse_dataset(CASES.encode(), "evals/cases.jsonl")
        run = a_run(dataset, release, bind(dataset, corpus=NO_JUDGE))
        report = evaluate_gates(gate_specs(here.project), run, None, GateOptions(first_release=True))
        body = {
            "id": "eval_1",
            "release": release,
            "baseline": None,
            "verdict": report.verdict.value,
            "at_s": 1.0,
            "report": as_json(report),
            "binding": run_as_json(run)["binding"],
            "runs": await here.state.blobs.put(canonical_json({"candidate": run_as_json(run)})),
        }
        await here.state.documents.put("evaluation", f"{release}/eval_1", body, expected_version=0)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> tuple[App, str]:
    """A project whose release was evaluated with two repeats."""
    app = App(tmp_path_factory.mktemp("gates") / "app")
    app.write("shipway.yaml", CHAT.replace("gates: [{ metric: correct, min: 0.2 }]\n", GATES))
    app.write("evals/cases.jsonl", CASES)
    app.write("prompts/chat.yaml", CHAT_PROMPT)
    made = json.loads(app.run("release", "create", "--json").out)["release"]
    anyio.run(store_evaluation, app, made)
    return app, made


@pytest.fixture
def evaluated(stage: Any) -> Any:
    return stage[0]


@pytest.fixture
def release(stage: Any) -> str:
    return stage[1]


def test_the_check_shows_what_each_gate_sees(evaluated):
    done = gate(evaluated, "check")
    assert done.code == 0
    assert "correct >= 0.2" in done.out
    assert "a share of up to 0.741" in done.out
    rows = json.loads(gate(evaluated, "check", "--json").out)["gates"]
    assert [row["n"] for row in rows] == [10, 10]
    assert rows[1]["basis"] == "no earlier evaluations: judged after the run"


def test_a_gate_that_can_never_decide_makes_the_check_exit_with_2(evaluated):
    before = (evaluated.root / "shipway.yaml").read_text()
    evaluated.edit("shipway.yaml", "min: 0.2", "min: 0.9")
    done = gate(evaluated, "check")
    (evaluated.root / "shipway.yaml").write_text(before)
    assert done.code == 2
    seen = "10 cases, all of them right, show at least 0.741, which is not 0.9: it can never pass"
    assert f"shipway.yaml:7: correct >= 0.9: {seen}" in done.out
    assert "0.9 takes 29 cases" in done.out


@pytest.mark.parametrize(
    ("gate_text", "said"),
    [
        ("{ metric: 'pass^3:correct', min: 0.2 }", "pass^3:correct: needs 3 repeats of each case and gets 1"),
        ("{ metric: tenant_leak, zero_tolerance: true }", "tenant_leak applies to no case"),
        ("{ metric: citation_resolves, min: 0.2 }", "citation_resolves applies to no case"),
        ("{ metric: cost_usd, max: 0.2 }", "cost_usd applies to no case"),
        ("{ model_update: true }", "model_update compares nothing"),
        ("{ metric: latency_ms, max: -1 }", "gate 'latency_ms <= -1': latency_ms is never below 0"),
        ("{ metric: corect, min: 0.2 }", "unknown metric 'corect'; did you mean 'correct'?"),
    ],
)
def test_a_gate_that_never_has_anything_to_decide_is_refused_with_its_line(make_app, gate_text, said):
    app = make_app()
    app.edit("shipway.yaml", "{ metric: correct, min: 0.2 }", gate_text)
    for command in (("gate", "check"), ("config", "check"), ("release", "create")):
        done = app.run(*command)
        assert done.code == 2
        assert f"shipway.yaml:6: gates[0]: {said}" in done.out + done.err


def test_the_simulation_says_how_often_an_unchanged_release_would_be_blocked(evaluated):
    done = gate(evaluated, "simulate", "--decisions", "40", "--effect", "0.9")
    assert done.code == 0
    assert done.out.startswith("40 decisions for each effect, from the repeats of each case, split at random into two")
    rows = json.loads(gate(evaluated, "simulate", "--decisions", "40", "--effect", "0.9", "--json").out)["rows"]
    assert {(row["effect"], row["gate"]) for row in rows} >= {(0.0, "all gates"), (0.9, "correct >= 0.2")}
    worse = next(row for row in rows if row["effect"] == 0.9 and row["gate"] == "correct >= 0.2")
    assert worse["FAIL"]["rate"] + worse["PASS"]["rate"] + worse["INCONCLUSIVE"]["rate"] == pytest.approx(1)


def test_stored_answers_are_judged_by_the_present_gates(evaluated, release):
    before = (evaluated.root / "shipway.yaml").read_text()
    evaluated.edit("shipway.yaml", "min: 0.2", "min: 0.1")
    done = gate(evaluated, "run", release, "--json")
    (evaluated.root / "shipway.yaml").write_text(before)
    body = json.loads(done.out)
    assert body["gates"][0]["gate"] == "correct >= 0.1"
    assert body["gates"][0]["reason"] == "worse is no use"
    assert done.code == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 4}[body["verdict"]]


def test_runs_on_other_cases_are_refused(evaluated, release):
    before = (evaluated.root / "evals/cases.jsonl").read_text()
    (evaluated.root / "evals/cases.jsonl").write_text(before.replace("word3", "word33"))
    done = gate(evaluated, "run", release)
    (evaluated.root / "evals/cases.jsonl").write_text(before)
    assert done.code == 2
    assert "was made on other cases: dataset sha256:" in done.err


def test_a_file_of_runs_is_judged(evaluated, release, tmp_path):
    found = json.loads(gate(evaluated, "run", release, "--json").out)
    dataset = parse_dataset(CASES.encode(), "evals/cases.jsonl")
    run = {
        "target": "foreign",
        "target_digest": "foreign",
        "dataset": "cases",
        "repeats": 1,
        "binding": asdict(bind(dataset, corpus=NO_JUDGE)),
        "results": [
            {"case": str(number), "repeat": 0, "scores": {"correct": 1.0, "latency_ms": 5.0}, "errors": {}}
            for number in range(10)
        ],
    }
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"candidate": run, "baseline": run}))
    done = gate(evaluated, "run", str(path), "--json")
    assert (done.code, json.loads(done.out)["verdict"]) == (0, "PASS")
    assert found["release"].startswith("rel")
    path.write_text(json.dumps({"candidate": run}))
    assert gate(evaluated, "run", str(path)).code == 3
    assert gate(evaluated, "run", str(path), "--first-release").code == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"candidate": {"results": []}}', '{"baseline": {}}', '{"candidate": 3}']
)
def test_a_file_that_holds_no_runs_is_refused(evaluated, tmp_path, text):
    path = tmp_path / "runs.json"
    path.write_text(text)
    done = gate(evaluated, "run", str(path))
    assert done.code == 2
    assert "runs.json: holds no" in done.err


def test_a_stored_evaluation_is_explained_in_words(evaluated, release):
    done = gate(evaluated, "explain", release)
    assert done.code == 0
    assert "correct >= 0.2: " in done.out
    assert "10 cases in 10 clusters; 0 of 20 scores missing" in done.out
    assert "latency_ms does not regress: does not apply" in done.out
    name = done.out.partition(":")[0]
    assert gate(evaluated, "explain", name).out == done.out


def test_a_release_that_was_never_evaluated_is_said_to_be_so(make_app):
    app = make_app()
    done = gate(app, "simulate")
    assert done.code == 2
    assert "no release has been evaluated" in done.err
    assert gate(app, "explain", "rel_none").code == 2
