"""The jobs of a compiled workflow, each in a checkout of its own, hand on what the next ones need."""

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.cli.conftest import App, run_here

from shipway.pipeline.patterns import fixed_part, matches_any

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


class Artifacts:
    """Keeps and gives back files as GitHub's actions do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, checkout: Path, step: Mapping[str, Any]) -> None:
        patterns = step["path"].splitlines()
        # Paths in an artifact are relative to the deepest folder that all of them are in, or to that of the only one.
        fixed = [str(checkout / fixed_part(pattern)) for pattern in patterns]
        root = Path(os.path.commonpath(fixed)) if len(fixed) > 1 else Path(fixed[0]).parent
        for file in checkout.rglob("*"):
            if file.is_file() and matches_any(file.relative_to(checkout).as_posix(), patterns):
                target = self.folder / step["name"] / file.relative_to(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)

    def give(self, checkout: Path, step: Mapping[str, Any]) -> None:
        for artifact in self.folder.iterdir():
            if fnmatchcase(artifact.name, step["pattern"]):
                shutil.copytree(artifact, checkout / step["path"], dirs_exist_ok=True)


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
    (tmp_path / "kept").mkdir()
    kept = Artifacts(tmp_path / "kept")
    codes = {}

    for name, job in document["jobs"].items():
        if name == "night":
            continue  # a push leaves it out
        checkout = tmp_path / name
        shutil.copytree(repository, checkout)
        monkeypatch.chdir(checkout)
        for step in job["steps"]:
            if "download-artifact" in step.get("uses", ""):
                kept.give(checkout, step["with"])
            elif step.get("name") == "Run":
                codes[name] = run_here(*shlex.split(step["run"])[1:]).code
            elif step.get("name") == "Keep":
                kept.keep(checkout, step["with"])

    assert codes == {"build": 0, "lint": 0, "ship": 0}
    handed = json.loads((tmp_path / "ship" / folder / ".shipway/pipeline/results/lint.json").read_text())
    assert (handed["state"], handed["allowed"]) == ("failed", True)
    assert (tmp_path / "kept/shipway.ship.1/shipped").read_text() == "1\n"
