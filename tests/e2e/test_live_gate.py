"""The example's gate on the real model: the better prompt passes, the one that drops conditions does not."""

import shutil
from pathlib import Path

import pytest
from tests.program import run_program

EXAMPLE = Path(__file__).parents[2] / "examples" / "helpdesk"
COMMAND_TIMEOUT_S = 900

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.timeout(3000)]


def verdict_of(app, release: str) -> tuple[int, str]:
    """Return the exit code and the verdict of a whole evaluation."""
    done = run_program("eval", "run", release, "--json", "--project", str(app.root), timeout_s=COMMAND_TIMEOUT_S)
    return done.code, done.json["verdict"]


def released(app, version: int) -> str:
    shutil.copy(EXAMPLE / "prompts" / f"answer.v{version}.yaml", app.root / "prompts" / "answer.yaml")
    return app.json("release", "create")["release"]


def test_live_the_gate_lets_the_better_prompt_pass_and_stops_the_one_that_drops_conditions(project):
    app = project()
    shutil.copytree(EXAMPLE, app.root)
    app.up()
    app.run("rag", "build")
    first = released(app, 1)
    assert verdict_of(app, first) == (0, "PASS")
    app.run("deploy", first)
    assert verdict_of(app, released(app, 2)) == (0, "PASS")
    assert verdict_of(app, released(app, 3)) == (1, "FAIL")
