"""Factories of several configurations: what they share, and whose connections are closed when one of them goes."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import SystemClock
from shipway.entrypoints import runtime_factory
from shipway.entrypoints.runtime_factory import LocalRuntimeFactory
from shipway.services.application import Application, Workspace
from shipway.services.runtimes import Engine

PROJECT = """
app: shop
models: { far: { engine: openai, model: large, base_url: "http://127.0.0.1:1/v1" } }
routes: { chat: { kind: chat, model: far } }
"""
ENGINE = Engine("http://127.0.0.1:1/v1", "large")

pytestmark = pytest.mark.anyio


class Answers:
    """What `answer_parts` would open."""

    def __init__(self, _app: Application) -> None:
        self.generators: dict[Engine, object] = {}

    def generator(self, engine: Engine, _decoding: Mapping[str, Any]) -> object:
        return self.generators.setdefault(engine, SimpleNamespace())

    async def keep_only(self, used: Collection[object]) -> None:
        kept = {id(each) for each in used}
        self.generators = {engine: each for engine, each in self.generators.items() if id(each) in kept}

    async def close(self) -> None:
        self.generators.clear()


@pytest.fixture
def app(tmp_path: Path, monkeypatch) -> Application:
    monkeypatch.setattr(runtime_factory, "import_module", lambda _: SimpleNamespace(AnswerParts=Answers))
    (tmp_path / "shipway.yaml").write_text(PROJECT)
    return Application(load_project(tmp_path, {}), Workspace(tmp_path), MemoryStore(), SystemClock(), "gateway")


async def test_connections_that_another_configuration_still_uses_stay_open(app):
    first = LocalRuntimeFactory(app)
    second, third = LocalRuntimeFactory(app, first), LocalRuntimeFactory(app, first)
    moved = replace(ENGINE, base_url="http://127.0.0.1:2/v1")
    shared = first.generator(ENGINE, {})
    assert second.generator(ENGINE, {}) is shared
    third.generator(moved, {})
    answers = first._shared.answers

    await first.leave_to([second, third])
    assert set(answers.generators) == {ENGINE, moved}

    await second.leave_to([third])
    assert set(answers.generators) == {moved}


def test_a_factory_answers_by_its_own_configuration(app, tmp_path):
    first = LocalRuntimeFactory(app)
    (tmp_path / "shipway.yaml").write_text(PROJECT.replace("127.0.0.1:1", "127.0.0.1:2"))
    second = LocalRuntimeFactory(replace(app, loaded=load_project(tmp_path, {})), first)
    entry = {"engine": "openai", "model": "large"}

    assert first.engine("far", entry).base_url == "http://127.0.0.1:1/v1"
    assert second.engine("far", entry).base_url == "http://127.0.0.1:2/v1"
