"""The service of a stage that asks the app: started where none runs, shared, gone with the stage however that ends."""

import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import CASES, CHAT_PROMPT, App
from tests.marked import marked, none_left
from tests.program import PROGRAM, environment

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PROJECT = """app: asked
models: { echo: { engine: echo, model: echo, max_out: 64 } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
evals: { dataset: evals/cases.jsonl, split: all, route: chat }
gates: [{ metric: correct, min: 0.2 }]
server: { drain_s: 0 }
pipeline:
  release: { uses: release }
  evaluate: { uses: evaluate, needs: [release] }
  smoke: { uses: smoke, needs: [release], with: { release: run, file: evals/smoke.yaml } }
"""
SMOKE = "[{ name: repeats, kind: contains, route: chat, prompt: Say word1, contains: word1 }]\n"
GATEWAY = "  gateway: { uses: smoke, needs: [release] }\n"
HASTY = "  hasty: { uses: evaluate, needs: [release], timeout_s: 0.5 }\n"
STARTING = "it is started for this stage"
ASKING = "asks the service of this stage at"
STOPPED = "the service of this stage has been stopped"


@pytest.fixture
def app(tmp_path: Path) -> App:
    made = App(tmp_path / "app")
    made.write("shipway.yaml", PROJECT)
    made.write("evals/cases.jsonl", CASES)
    made.write("prompts/chat.yaml", CHAT_PROMPT)
    made.write("evals/smoke.yaml", SMOKE)
    return made


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the variable by which all that a test starts is known."""
    value = uuid.uuid4().hex
    monkeypatch.setenv("MARK", value)
    return value


def tails(app: App) -> dict[str, str]:
    """Run the pipeline, which passes; return what the stages that ask printed."""
    done = app.spawn("pipeline", "run", "--jobs", "2", "--json")
    assert done.code == 0, done.out + done.err
    return {stage["name"]: stage["output_tail"] for stage in done.json["stages"] if stage["name"] != "release"}


def job(app: App, definition: str) -> dict[str, Any]:
    """Add a stage and run it as a job, after the release; return its result."""
    app.write("shipway.yaml", PROJECT + definition)
    assert app.run("pipeline", "run-stage", "release").code == 0
    found: dict[str, Any] = app.spawn("pipeline", "run-stage", definition.partition(":")[0].strip(), "--json").json
    return found


def test_stages_at_the_same_time_share_one_service_and_use_one_that_runs(app: App, mark: str) -> None:
    said = tails(app)

    starts = [name for name, text in said.items() if STARTING in text]
    assert len(starts) == 1
    assert STOPPED in said[starts[0]]
    other = said["smoke" if starts == ["evaluate"] else "evaluate"]
    assert "asks the service that runs here at http://127.0.0.1:" in other
    assert none_left(mark) == []

    assert app.spawn("up", "--timeout", "60").code == 0
    try:
        before = marked(mark)
        said = tails(app)
        assert all("asks the service that runs here at http://127.0.0.1:" in text for text in said.values())
        assert not any(STARTING in text or STOPPED in text for text in said.values())
        assert sorted(before) == sorted(marked(mark))
    finally:
        app.run("down")


def test_a_stage_that_asks_a_gateway_says_where_there_is_nothing_to_serve(app: App, mark: str) -> None:
    found = job(app, GATEWAY)
    assert found["verdict"] == "ERROR"
    assert "no release is deployed in this store that a gateway could serve" in found["problem"]
    assert none_left(mark) == []


def test_a_stage_that_times_out_takes_its_service_with_it(app: App, mark: str) -> None:
    assert job(app, HASTY)["problem"] == "timed out after 0.5 s"
    assert none_left(mark) == []


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (STARTING, signal.SIGKILL),
        (ASKING, signal.SIGKILL),
        (STARTING, signal.SIGINT),
        (ASKING, signal.SIGINT),
        (ASKING, signal.SIGTERM),
    ],
)
def test_a_job_that_is_ended_takes_its_service_with_it(app: App, mark: str, line: str, number: signal.Signals) -> None:
    assert app.run("pipeline", "run-stage", "release").code == 0
    command = [*PROGRAM, "pipeline", "run-stage", "evaluate", "--project", str(app.root)]
    running = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED="1")
    )
    assert running.stderr is not None
    with running.stderr:
        assert any(line.encode() in said for said in running.stderr)
        running.send_signal(number)
        running.stderr.read()
    assert running.wait(60) != 0
    assert none_left(mark) == []
    assert app.run("status").out.startswith("asked in local: not running")
