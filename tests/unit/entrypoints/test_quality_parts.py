import subprocess
import sys
from pathlib import Path

import pytest

from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.entrypoints.quality_parts import followed
from shipway.services.application import Application, Workspace
from shipway.services.config_board import ConfigBoard

PROJECT = """
app: shop
models: { here: { engine: echo, model: echo } }
routes: { ask: { kind: chat, model: here } }
"""


@pytest.fixture
def app(tmp_path: Path) -> Application:
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), ManualClock(), "control")


@pytest.fixture
def board(app: Application):
    host = LocalHost()
    made = ConfigBoard(app.workspace, host)
    lock = host.lock(app.workspace.run / "up.lock")
    assert lock is not None
    yield made
    host.unlock(lock)


def test_while_nothing_is_reloaded_it_is_the_same_application(app, board):
    latest = followed(app, lambda *_a, **_f: None)
    assert latest() is app
    assert latest() is app


def test_what_was_reloaded_is_followed_once(app, board):
    board.begin(app.loaded.root, app.environment)
    latest = followed(app, lambda *_a, **_f: None)
    (app.loaded.root / "shipway.yaml").write_text(PROJECT + "quality: { sample: 0.5 }\n")
    assert latest() is app

    board.begin(app.loaded.root, app.environment)
    assert latest().project.quality.sample == 0.5
    assert latest() is latest()


def test_a_control_process_that_judges_nothing_loads_no_judge():
    code = (
        "import sys; import shipway.entrypoints.control_process;"
        "print([name for name in sys.modules if name in"
        " ('scipy', 'onnxruntime', 'shipway.services.quality.jobs', 'shipway.evals.metrics')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
