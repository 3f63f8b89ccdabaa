"""Projects whose releases are answered for by a function of the test's."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import load_project
from shipway.core.clock import ManualClock
from shipway.core.errors import UnavailableError
from shipway.evals.model import Case, Output
from shipway.rag.compose import parse_prompt
from shipway.registry.model import Release
from shipway.services.application import Application, Workspace
from shipway.services.releases import ReleaseParts, create_release

PROJECT = """app: small
models:
  small: { engine: echo, model: echo-1, max_out: 64, price: { input: 1.0, output: 2.0 } }
  big: { engine: echo, model: echo-2, max_out: 64, price: { input: 5.0, output: 10.0 } }
decoding: { temperature: 0.0, seed: 1 }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: small, prompt: chat } }
evals: { dataset: evals/cases.jsonl, split: all, concurrency: 4 }
gates:
  - { metric: correct, min: 0.2 }
  - { metric: correct, non_regression: auto }
"""
PROMPT = 'name: chat\nversion: "{version}"\nsystem: You are {system}.\n'
Answer = Callable[[Release, Case, int], Output | str | Exception]


class Prompts:
    """Implements `services.releases.PromptReader`."""

    def check(self, data: bytes, shown_as: str) -> None:
        parse_prompt(data, shown_as)


class NoCommits:
    """Implements `services.releases.SourceControl`."""

    async def head(self, root: Path) -> tuple[str, bool] | None:
        return None


PARTS = ReleaseParts(NoCommits(), None, Prompts(), None)  # type: ignore[arg-type]


def cases(n: int) -> str:
    rows = [{"id": f"c{i:02}", "question": f"Q{i}?", "must_contain": [f"word{i}"]} for i in range(n)]
    return "\n".join(json.dumps(row) for row in rows)


def project(root: Path, *, n: int = 40, more: str = "") -> Application:
    """Make a project with two models and a prompt."""
    (root / "prompts").mkdir(exist_ok=True)
    (root / "evals").mkdir(exist_ok=True)
    (root / "shipway.yaml").write_text(PROJECT + more, encoding="utf-8")
    (root / "evals/cases.jsonl").write_text(cases(n), encoding="utf-8")
    write_prompt(root, "chat", "helpful")
    return Application(load_project(root, {}), Workspace(root), MemoryStore(), ManualClock(), "user:test")


def write_prompt(root: Path, name: str, system: str) -> str:
    (root / f"prompts/{name}.yaml").write_text(PROMPT.format(version=name, system=system), encoding="utf-8")
    return f"prompts/{name}.yaml"


async def released(app: Application) -> Release:
    """Make a release of the project as it is on disk now."""
    again = Application(load_project(app.loaded.root, {}), app.workspace, app.state, app.clock, app.actor)
    return (await create_release(again, PARTS)).release


def word(case: Case) -> str:
    """Return a right answer."""
    return f"it is {case.must_contain[0]}"


def model_of(release: Release) -> str:
    """Return the model that a release answers with."""
    return str(release.manifest["policy"]["routes"]["chat"]["model"])


@dataclass(frozen=True)
class FakeTarget:
    """Implements `evals.ports.Target`."""

    release: Release
    answer: Answer

    @property
    def name(self) -> str:
        return self.release.id

    @property
    def digest(self) -> str:
        return self.release.id

    async def ask(self, case: Case, *, repeat: int) -> Output:
        found = self.answer(self.release, case, repeat)
        if isinstance(found, Exception):
            raise found
        return Output(answer=found, tokens_in=100, tokens_out=10) if isinstance(found, str) else found


@dataclass
class FakeTargets:
    """Implements `services.evaluations.EvaluationTargets`; what is `down` cannot be opened."""

    answer: Answer
    down: Callable[[Release], bool] = lambda _release: False
    route_name: str = "chat"
    opened_ids: list[str] = field(default_factory=list)
    closed_ids: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def opened(self, release: Release) -> AsyncIterator[FakeTarget]:
        if self.down(release):
            raise UnavailableError(f"engine {model_of(release)!r} is not running")
        self.opened_ids.append(release.id)
        yield FakeTarget(release, self.answer)
        self.closed_ids.append(release.id)

    async def access(self, release: Release) -> None:
        return None

    def route(self, release: Release) -> str:
        return self.route_name
