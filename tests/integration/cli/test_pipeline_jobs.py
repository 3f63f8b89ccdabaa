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
