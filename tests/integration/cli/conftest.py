"""Commands run as the `shipway` program runs them, and small projects that need no model.

Most commands run in this process, through the function that the program calls: starting an interpreter each time would
take minutes.
"""

import contextlib
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.program import PROGRAM, Done, environment, run_program

from shipway.entrypoints.cli.main import run

CHAT = """app: small
models: { echo: { engine: echo, model: echo, max_out: 64 } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
evals: { dataset: evals/cases.jsonl, split: all, route: chat }
gates: [{ metric: correct, min: 0.2 }]
rollout: { steps: [{ weight: 0.5 }, { weight: 1.0 }], drain_s: 0 }
pipeline: { release: { uses: release } }
"""
RAG = """app: small-rag
models: { echo: { engine: echo, model: echo, max_out: 64 } }
prompts: { answer: prompts/answer.yaml }
routes: { ask: { kind: rag, model: echo, prompt: answer } }
corpus: { root: docs, embedding: hashing, sources: [{ path: "**", tenant: default, groups: [public] }] }
retrieval: { reranker: hashing }
evals: { dataset: evals/cases.jsonl, split: all }
gates: [{ metric: tenant_leak, zero_tolerance: true }]
"""
CHAT_PROMPT = """name: chat
version: "1"
description: A chat.
system: You are helpful.
user: "{question}"
max_tokens: 64
"""
ANSWER_PROMPT = """name: answer
version: "1"
description: An answer.
system: Answer from the text.
user: "Text: {passage}\\nQuestion: {question}"
max_tokens: 64
"""
CASES = "\n".join(
    json.dumps({"id": str(number), "question": f"Say word{number}", "must_contain": [f"word{number}"]})
    for number in range(10)
)
OPENING = "# Opening hours\n\nThe library opens at 9 o'clock on Monday and closes at 17 o'clock.\n"
LOANS = "# Loans\n\nA book may be kept for 28 days. A film may be kept for 7 days.\n"


@dataclass(frozen=True)
class App:
    """One project's folder."""

    root: Path

    def run(self, *arguments: str) -> Done:
        return run_here(*arguments, "--project", str(self.root))

    def spawn(self, *arguments: str, timeout_s: float = 90) -> Done:
        """Run a command in a process of its own."""
        return run_program(*arguments, "--project", str(self.root), timeout_s=timeout_s)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command whose output, errors included, is read from a pipe."""
        command = [*PROGRAM, *arguments, "--project", str(self.root)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def edit(self, path: str, before: str, after: str) -> None:
        text = (self.root / path).read_text()
        assert before in text
        (self.root / path).write_text(text.replace(before, after))


def run_here(*arguments: str) -> Done:
    """Run a command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = run(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def shipway() -> Callable[..., Done]:
    return run_here


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Makes projects of kind chat or rag, and stops what they started."""
    made: list[App] = []

    def make(kind: str = "chat", name: str = "app") -> App:
        app = App(tmp_path / name)
        app.write("shipway.yaml", CHAT if kind == "chat" else RAG)
        app.write("evals/cases.jsonl", CASES)
        app.write("prompts/chat.yaml", CHAT_PROMPT)
        if kind == "rag":
            app.write("prompts/answer.yaml", ANSWER_PROMPT)
            app.write("docs/opening.md", OPENING)
            app.write("docs/loans.md", LOANS)
        made.append(app)
        return app

    yield make
    for app in made:
        if (app.root / ".shipway" / "run").is_dir():
            app.run("down")
