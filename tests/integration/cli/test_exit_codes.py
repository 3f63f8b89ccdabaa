"""The exit code and the JSON of every command: as it succeeds, as it is misused, as it breaks, as it is interrupted."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.integration.cli.commands_in_turn import (
    FLAG,
    operate_datasets,
    operate_evaluations,
    operate_gates,
    operate_pipeline,
    operate_production,
    operate_rollouts,
    operate_traffic,
)
from typer.main import get_command

from shipway.entrypoints.cli.main import COMMANDS, app

SOURCE = Path(__file__).parents[3] / "src" / "shipway"
RELEASE = "rel_0000000000000000"
# Every command with what it cannot do without.
ARGUMENTS: dict[str, list[str]] = {
    "audit list": [],
    "cache calibrate": [],
    "cache show": [],
    "feedback list": [],
    "quality status": [],
    "flag delete": ["tone"],
    "flag list": [],
    "flag set": ["tone", FLAG],
    "flag show": ["tone"],
    "shadow clear": ["chat"],
    "shadow set": ["chat", RELEASE],
    "switch clear": ["all"],
    "switch list": [],
    "switch set": ["kill-route", "chat"],
    "audit verify": [],
    "chaos": [],
    "config check": [],
    "config schema": [],
    "config show": [],
    "control": [],
    "db backup": ["copy.db"],
    "db check": [],
    "db restore": ["copy.db"],
    "db upgrade": [],
    "demo": [],
    "deploy": [RELEASE],
    "doctor": [],
    "down": [],
    "engine": ["echo"],
    "gate check": [],
    "gate explain": [RELEASE],
    "gate run": [RELEASE],
    "gate simulate": [],
    "dataset check": [],
    "dataset diff": ["faq@1", "faq@2"],
    "dataset import": ["x.csv", "--from", "csv", "--out", "x.jsonl"],
    "dataset list": [],
    "dataset proposals accept": ["prop_0", "--reference", "Yes."],
    "dataset proposals export": ["--out", "x.jsonl"],
    "dataset proposals list": [],
    "dataset proposals reject": ["prop_0"],
    "dataset proposals show": ["prop_0"],
    "dataset register": [],
    "dataset schema": [],
    "dataset split": ["faq", "--out", "x.jsonl"],
    "dataset stats": [],
    "eval attribute": [RELEASE],
    "eval cache clear": [],
    "eval cache stats": [],
    "eval compare": [RELEASE, RELEASE],
    "eval contract": ["contracts.yaml", "--url", "http://127.0.0.1:9"],
    "eval matrix": [RELEASE],
    "eval merge": ["part1", "part2"],
    "eval perf": ["http://127.0.0.1:9/v1", "--model", "m"],
    "eval report": [RELEASE],
    "eval rescore": ["run_0"],
    "eval run": [RELEASE],
    "eval smoke": [],
    "eval tool install": ["promptfoo"],
    "eval tool read": ["promptfoo", "results.json"],
    "eval tool run": ["promptfoo", "promptfooconfig.yaml", "--target", "far"],
    "init": [],
    "judge anchors": ["held"],
    "judge calibrate": ["held"],
    "judge label": [RELEASE],
    "judge try": ["held", "film", "--answer", "I don't know."],
    "key create": [],
    "key list": [],
    "key revoke": ["key_0"],
    "key rotate": ["key_0"],
    "limits reset": ["--key", "key_0"],
    "limits show": [],
    "load": [],
    "logs": [],
    "models install": [],
    "models list": [],
    "pipeline changed": ["--since", "HEAD"],
    "pipeline clean": [],
    "pipeline compile": ["github"],
    "pipeline explain": ["release"],
    "pipeline fix": [],
    "pipeline graph": [],
    "pipeline init": [],
    "pipeline list": [],
    "pipeline logs": ["release"],
    "pipeline report": [],
    "pipeline queue": [],
    "pipeline run": [],
    "pipeline run-stage": ["release"],
    "pipeline runs": [],
    "pipeline serve": [],
    "rag ask": ["How?", "--tenant", "default"],
    "rag build": [],
    "readiness": [],
    "reload": [],
    "replay": [RELEASE],
    "release create": [],
    "release diff": [RELEASE, RELEASE],
    "release list": [],
    "release show": [RELEASE],
    "restart": [],
    "rollback": [],
    "rollout abort": [],
    "rollout approve": [],
    "rollout explain": [],
    "rollout history": [],
    "rollout list": [],
    "rollout pause": [],
    "rollout promote": [],
    "rollout resume": [],
    "rollout status": [],
    "rollout watch": [],
    "runbook": ["rollback"],
    "serve": [],
    "status": [],
    "supervise": [],
    "up": [],
}
WITHOUT_PROJECT = {"config schema", "dataset import", "dataset schema", "demo"}
WITHOUT_PROJECT |= {"eval contract", "eval perf", "init", "models install", "models list"}
CASES = [
    ("film", "How long may a film be kept?", "7 days"),
    ("book", "How long may a book be kept?", "28 days"),
    ("opens", "When does the library open on Monday?", "9"),
    ("closes", "When does the library close on Monday?", "17"),
]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def leaves() -> Iterator[str]:
    root: Any = get_command(app)
    context = typer.Context(root)
    for name in COMMANDS:
        yield from leaves_below(root.get_command(context, name), name)


def leaves_below(command: Any, name: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if not children:
        yield name
        return
    for child, found in children.items():
        yield from leaves_below(found, f"{name} {child}")


def only_json(done: Any) -> Any:
    """Return the one document on stdout; nothing may stand before or behind it."""
    document, end = json.JSONDecoder().raw_decode(done.out)
    assert done.out[end:].strip() == ""
    return document


def test_the_table_names_every_command():
    assert sorted(ARGUMENTS) == sorted(leaves())


@pytest.mark.parametrize("name", sorted({*ARGUMENTS, *COMMANDS}))
def test_help_exits_with_0(shipway, name):
    done = shipway(*name.split(), "--help")

    assert done.code == 0
    assert "Usage: shipway " in done.out


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_unknown_option_exits_with_2(shipway, name):
    done = shipway(*name.split(), *ARGUMENTS[name], "--no-such-option")

    assert done.code == 2
    assert "--no-such-option" in done.err


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_unknown_option_with_json_is_one_document(shipway, name):
    done = shipway(*name.split(), *ARGUMENTS[name], "--json", "--no-such-option")

    assert done.code == 2
    assert only_json(done)["error"]["exit_code"] == 2


@pytest.mark.parametrize("name", sorted(set(ARGUMENTS) - WITHOUT_PROJECT))
def test_outside_a_project_a_command_exits_with_2_and_one_document(shipway, tmp_path, name):
    done = shipway(*name.split(), *ARGUMENTS[name], "--json", "--project", str(tmp_path))

    assert done.code == 2
    found = only_json(done)["error"]
    assert (found["type"], found["exit_code"]) == ("NotFoundError", 2)
    assert "no shipway.yaml" in found["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["release", "nonsense"], ["deploy"]])
def test_a_wrong_call_exits_with_2(shipway, arguments):
    assert shipway(*arguments).code == (2 if arguments else 0)


def test_an_unexpected_exception_exits_with_3_and_says_how_to_see_more(shipway, make_app, monkeypatch):
    project = make_app()
    monkeypatch.setattr("shipway.entrypoints.cli.commands.config.load_what_is_valid", lambda *_: 1 / 0)

    said, document = project.run("config", "check"), project.run("config", "check", "--json")

    assert (said.code, document.code) == (3, 3)
    assert "ZeroDivisionError" in said.err
    assert "--debug" in said.err
    assert "Traceback" not in said.err
    assert only_json(document)["error"]["exit_code"] == 3


def test_every_command_that_a_message_names_exists():
    known = {*ARGUMENTS, *COMMANDS, *(" ".join(name.split()[:2]) for name in ARGUMENTS)}
    named = {
        (path.relative_to(SOURCE).as_posix(), match[1].strip())
        for path in SOURCE.rglob("*.py")
        for match in re.finditer(r"`shipway ([a-z]+(?: [a-z]+)?)", path.read_text())
    }
    assert len(named) > 20

    assert {item for item in named if item[1] not in known and item[1].split()[0] not in set(ARGUMENTS)} == set()


@pytest.fixture
def library(make_app):
    """A project of two documents whose releases pass their gate."""
    project = make_app("rag")
    project.edit("shipway.yaml", "{ metric: tenant_leak, zero_tolerance: true }", "{ metric: correct, min: 0.2 }")
    rollout = "rollout: { steps: [{ weight: 0.5 }, { weight: 1.0 }], drain_s: 0 }"
    project.edit("shipway.yaml", "app: small-rag", f"app: small-rag\n{rollout}\npipeline: {{ r: {{ uses: release }} }}")
    judges = "judges: { held: { kind: llm, model: echo, anchors: evals/anchors.jsonl } }"
    project.edit("shipway.yaml", "app: small-rag", f"app: small-rag\n{judges}")
    asker = {"tenant": "default", "groups": ["public"]}
    cases = [{"id": name, "question": question, "must_contain": [part], **asker} for name, question, part in CASES]
    cases.append({"id": "dogs", "question": "Which dogs does the mayor keep?", "unanswerable": True, **asker})
    project.write("evals/cases.jsonl", "\n".join(json.dumps(case) for case in cases))
    # What declines is judged without asking a model.
    declined = [("film", 0), ("book", 0), ("opens", 0), ("dogs", 1)]
    row = {"answer": "I don't know.", "task": "abstention"}
    labels = [{"case": name, "label": label, **row} for name, label in declined]
    project.write("evals/labels.jsonl", "\n".join(json.dumps(label) for label in labels))
    project.write("plans/approval.yaml", "strategy: blue-green\napproval: true\nbake_s: 0\nkeep_s: 0\n")
    return project


def hold_a_judge(project: Any, ok: Any) -> None:
    """Run the commands of judges; `judge label` needs a person."""
    anchors = str(project.root / "evals" / "anchors.jsonl")
    assert ok("judge calibrate", "held", "--write-anchors", anchors)["anchors"] == 4
    assert ok("judge anchors", "held")["changed"] == 0
    assert ok("judge try", *ARGUMENTS["judge try"], "--task", "abstention")["score"] == 0


def test_every_command_that_succeeds_prints_one_document(library, shipway, tmp_path):
    seen: set[str] = set()

    def ok(name: str, *arguments: str, code: int = 0) -> Any:
        done = library.run(*name.split(), *arguments, "--json")
        assert done.code == code, f"{name}: {done.code}\n{done.out}\n{done.err}"
        seen.add(name)
        return only_json(done)

    for name in ("config check", "config show", "pipeline list", "rag build", "db upgrade", "db check"):
        ok(name)
    for arguments in (["config", "schema"], ["models", "list"], ["init", str(tmp_path / "new"), "--dry-run"]):
        assert only_json(shipway(*arguments, "--json"))
    assert only_json(library.spawn("up", "--json"))["key"]["secret"]
    assert ok("status")["running"] is True
    assert ok("logs", "control")["process"] == "control"
    made = ok("key create")["key_id"]
    assert ok("key rotate", made, "--overlap", "1h")["old_secret_until"]
    assert [row["key_id"] for row in ok("limits show", "--key", made)] == [made]
    assert ok("limits reset", "--key", made)["reset"][0]["limit"] == "requests"
    ok("key revoke", made)
    assert len(ok("key list")) == 1
    first = ok("release create")["release"]
    assert ok("eval run", first, "--repeats", "2")["verdict"] == "PASS"
    # The simulation wants repeats, which the evaluations that follow have not.
    operate_gates(ok, first)
    operate_evaluations(ok, first, tmp_path)
    operate_datasets(ok, tmp_path)
    assert ok("deploy", first, "--dry-run")["dry_run"] is True
    ok("deploy", first)
    assert ok("rag ask", "How long may a film be kept?", "--tenant", "default")["answer"]
    operate_traffic(ok)
    hold_a_judge(library, ok)
    library.edit("prompts/answer.yaml", "Answer from the text.", "Answer from the text, please.")
    second = ok("release create")["release"]
    ok("shadow set", "ask", second)
    ok("shadow clear", "ask")
    assert ok("release diff", first, second)["parts"] == ["prompt"]
    assert ok("release show", second)["id"] == second
    assert len(ok("release list")) == 2
    ok("eval run", second)
    ok("eval compare", first, second)
    operate_rollouts(ok, first, second, str(library.root / "plans/approval.yaml"))
    operate_production(ok, second, tmp_path)
    operate_pipeline(ok)
    assert {finding["state"] for finding in ok("doctor")} <= {"ok", "warning"}
    assert ok("audit list")
    assert ok("audit verify")["intact"] is True
    ok("db backup", str(tmp_path / "copy.db"))
    assert ok("down")["stopped"] is True
    assert ok("down")["stopped"] is False
    ok("db restore", str(tmp_path / "copy.db"))

    foreground = {"control", "engine", "pipeline serve", "serve", "supervise"}
    # Calibrating takes 299 judged pairs at least, which two documents do not give; its own tests have them.
    # A gate that failed, variants, a deployed answer with sources, and other people's programs: as well.
    own = {"eval attribute", "eval matrix", "eval smoke", "eval tool install", "eval tool read", "eval tool run"}
    own |= {"up", "cache calibrate", "judge label", "load", "chaos"}
    assert set(ARGUMENTS) - seen - WITHOUT_PROJECT - foreground - own == set()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_up_that_is_interrupted_leaves_no_process(make_app, program, number, code):
    project = make_app()
    processes = project.root / ".shipway" / "run" / "processes.json"
    started = program(project, "up")
    wait_until(lambda: processes.exists() and "gateway" in processes.read_text(), "the processes are being started")
    found = json.loads(processes.read_text())
    pids = [found["supervisor"], *(item["pid"] for item in found["processes"] if item["pid"])]

    started.send_signal(number)

    assert started.wait(60) == code
    wait_until(lambda: not any(alive(pid) for pid in pids), "every process has ended")
    assert project.run("status", "--json").json["running"] is False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_rollout_watch_that_is_interrupted_exits_with_the_signal(make_app, program, number, code):
    project = make_app()
    first = project.run("release", "create", "--json").json["release"]
    project.run("deploy", first, "--override-gate", "no gateway here")
    project.edit("prompts/chat.yaml", "You are helpful.", "You are kind.")
    second = project.run("release", "create", "--json").json["release"]
    project.run("deploy", second, "--override-gate", "nobody leads it")
    started = program(project, "rollout", "watch")
    assert b"rollout.started" in started.stdout.readline()

    started.send_signal(number)

    assert started.wait(20) == code
    assert b"Traceback" not in started.stdout.read()


@pytest.mark.parametrize(("name", "arguments"), [("serve", []), ("control", []), ("engine", ["echo"])])
def test_a_server_that_is_told_to_stop_exits_with_0(make_app, program, name, arguments):
    project = make_app()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    endpoints = {"gateway": f"http://127.0.0.1:{port}", "control": f"http://127.0.0.1:{port}", "engines": {}}
    project.write(".shipway/run/endpoints.json", json.dumps(endpoints))
    started = program(project, name, *arguments, *(["--port", str(port)] if name != "control" else []))
    wait_until(lambda: listens(port), f"{name} listens")

    started.send_signal(signal.SIGTERM)

    assert started.wait(40) == 0
    assert b"Traceback" not in started.stdout.read()


@pytest.fixture
def program():
    """Starts commands with their output in a pipe; what is left of them is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(project: Any, *arguments: str) -> subprocess.Popen[bytes]:
        process = project.start(*arguments)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        process.stdout.close()


def wait_until(condition: Any, what: str, timeout_s: float = 30.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    """Tell whether a process runs, a zombie being dead."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
