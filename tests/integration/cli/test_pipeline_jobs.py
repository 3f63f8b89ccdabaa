"""The jobs of a compiled workflow, each in a checkout of its own, hand on what the next ones need."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests.ci_artifacts import Artifacts
from tests.integration.cli.conftest import App, run_here

PROJECT = """app: small
models: { echo: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: echo } }
pipeline:
  build: { run: [sh, -c, "mkdir -p dist/deep; echo built > dist/deep/a; echo '{\\"size\\": 3}' > m.json"],
    outputs: ["dist/**"], metrics: m.json }
  lint: { run: [sh, -c, "exit 1"], allow_failure: true }
  night: { run: ["true"], needs: [build], when: { events: [pull_request] } }
  ship: { run: [sh, -c, "grep -q built dist/deep/a; test $SHIPWAY_STAGE_BUILD_SIZE = 3; echo 1 > shipped"],
    needs: [night, lint], outputs: [shipped] }
"""


@pytest.mark.parametrize("folder", ["", "app"])
def test_jobs_in_checkouts_of_their_own_hand_on_results_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    repository = tmp_path / "repository"
    app = App(repository / folder)
    app.write("shipway.yaml", PROJECT)
    (repository / ".git").mkdir()
    assert app.run("pipeline", "compile", "github").code == 0
    document = yaml.safe_load((repository / ".github/workflows/shipway.yml").read_text())
    kept = Artifacts(tmp_path / "kept")
    codes = {}

    for name, job in document["jobs"].items():
        if name == "night":
            continue  # a push leaves it out
        checkout = tmp_path / name
        shutil.copytree(repository, checkout)
        monkeypatch.chdir(checkout)
        codes[name] = kept.job(job, checkout, lambda words: run_here(*words).code)

    assert codes == {"build": 0, "lint": 0, "ship": 0}
    handed = json.loads((tmp_path / "ship" / folder / ".shipway/pipeline/results/lint.json").read_text())
    assert (handed["state"], handed["allowed"]) == ("failed", True)
    assert (tmp_path / "kept/shipway.ship.1/shipped").read_text() == "1\n"


HANDING = """app: small
models: { echo: { engine: echo, model: echo } }
routes: { chat: { kind: chat, model: echo } }
pipeline:
  a: { run: [sh, -c, "echo '{\\"v\\": 1}' > m.json"], metrics: m.json }
  left: { run: ["true"], needs: [a], when: { events: [schedule] } }
  b: { run: [sh, -c, "test $SHIPWAY_STAGE_A_V = 1"], needs: [left] }
  c: { run: ["true"], needs: [b] }
"""


def test_a_result_that_was_changed_or_is_of_another_plan_is_refused(tmp_path: Path) -> None:
    app = App(tmp_path / "app")
    app.write("shipway.yaml", HANDING)
    results = app.root / ".shipway/pipeline/results"
    assert [app.run("pipeline", "run-stage", name).code for name in ("a", "b", "c")] == [0, 0, 0]
    kept = (results / "a.json").read_text()

    (results / "a.json").write_text(kept.replace('"v": 1', '"v": 999'))
    changed = app.run("pipeline", "run-stage", "b")
    (results / "a.json").write_text(kept)
    app.edit("shipway.yaml", '"true"], needs: [b]', '"false"], needs: [b]')
    other = app.run("pipeline", "run-stage", "b")

    assert (changed.code, other.code) == (3, 3)
    assert "'a'" in changed.err
    assert "is not as its job left it" in changed.err
    assert "a.json is of plan sha256:" in other.err


def test_results_of_two_runs_are_not_mixed(tmp_path: Path) -> None:
    app = App(tmp_path / "app")
    app.write("shipway.yaml", HANDING.replace("1}' > m.json\"", "'$(cat n)'}' > m.json\"").replace("= 1", "-ge 1"))
    app.write("n", "1")
    assert [app.run("pipeline", "run-stage", name).code for name in ("a", "b")] == [0, 0]
    app.write("n", "2")
    assert app.run("pipeline", "run-stage", "a").code == 0

    mixed = app.run("pipeline", "run-stage", "c")

    assert mixed.code == 3
    assert "'b'" in mixed.err
    assert "what that built on is another" in mixed.err
