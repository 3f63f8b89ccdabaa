"""Projects whose commands are real processes, and a client that keeps asking while a test does other things."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from tests.program import PROGRAM, Done, environment, run_program

COMMAND_TIMEOUT_S = 120
CHAT = """
app: kill-me
models: { echo: { engine: echo, model: echo, max_out: 64 } }
prompts: { chat: prompts/chat.yaml }
routes: { chat: { kind: chat, model: echo, prompt: chat } }
rates: { per_key_min: 1000000 }
server: { drain_s: 2 }
evals: { dataset: evals/cases.jsonl, split: all, route: chat }
gates: [{ metric: correct, min: 0.2 }]
rollout:
  steps: [{ weight: 0.1, min_bake_s: 0.5 }, { weight: 0.3, min_bake_s: 0.5 }, { weight: 0.5 }, { weight: 1.0 }]
  guardrails: { max_error_rate: 1.0 }
  drain_s: 0
  dead_man_s: 6
"""
PROMPT = """
name: chat
version: "{version}"
description: A chat.
system: You are assistant number {version}.
user: "{{question}}"
max_tokens: 64
"""


@dataclass
class App:
    """One project on this machine."""

    root: Path
    key: str = ""

    def run(self, *arguments: str, expect: int | None = 0) -> Done:
        found = run_program(*arguments, "--project", str(self.root), timeout_s=COMMAND_TIMEOUT_S)
        assert expect is None or found.code == expect, f"{arguments} ended with {found.code}:\n{found.out}\n{found.err}"
        return found

    def json(self, *arguments: str, expect: int | None = 0) -> Any:
        return self.run(*arguments, "--json", expect=expect).json

    def init(self, kind: str) -> None:
        command = [*PROGRAM, "init", str(self.root), "--kind", kind]
        subprocess.run(
            command, check=True, capture_output=True, timeout=COMMAND_TIMEOUT_S, env=environment(PYTHONUNBUFFERED="1")
        )

    def up(self) -> None:
        started = self.json("up")
        self.key = started["key"]["secret"] if "key" in started else self.key

    def release(self, message: str = "") -> str:
        return str(self.json("release", "create", "-m", message)["release"])

    def prompt(self, version: int) -> str:
        (self.root / "prompts" / "chat.yaml").write_text(PROMPT.format(version=version))
        return self.release(f"prompt {version}")

    @property
    def endpoints(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / ".shipway" / "run" / "endpoints.json").read_text())
        return found

    def pids(self) -> dict[str, int | None]:
        found = json.loads((self.root / ".shipway" / "run" / "processes.json").read_text())
        return {"supervisor": found["supervisor"], **{item["name"]: item["pid"] for item in found["processes"]}}

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        uri = f"file:{self.root / '.shipway' / 'state.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as store:
            return store.execute(statement, values).fetchall()

    def rollout(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(
            self.query("SELECT body FROM documents WHERE kind = 'rollout' AND key = ?", name)[0][0]
        )
        return body

    def snapshot(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.query("SELECT body FROM snapshots")[0][0])
        return body

    def recorded(self) -> set[str]:
        return {row[0] for row in self.query("SELECT id FROM records")}


@dataclass(frozen=True)
class Reply:
    """One request as its client saw it; status 0 when there was no whole reply."""

    status: int
    request_id: str
    release: str
    body: Any


@dataclass
class Load:
    """Clients in a thread of their own, each request a conversation of its own."""

    app: App
    path: str
    body: dict[str, Any]
    clients: int = 4
    pause_s: float = 0.04
    replies: list[Reply] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def answered(self) -> list[Reply]:
        return [reply for reply in list(self.replies) if reply.status == 200]

    @property
    def failed(self) -> list[Reply]:
        return [reply for reply in list(self.replies) if reply.status != 200]

    def served_by(self, release: str) -> int:
        return sum(reply.release == release for reply in self.answered)

    async def _run(self) -> None:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(self.clients):
                group.create_task(self._client(session, number))

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = 0
        while not self._stop.is_set():
            turn += 1
            headers = {
                "Authorization": f"Bearer {self.app.key}",
                "X-Shipway-Conversation": f"{id(self)}-{number}-{turn}",
            }
            url = self.app.endpoints["gateway"] + self.path
            try:
                async with session.post(url, json=self.body, headers=headers) as response:
                    text = await response.text()
                    name, release = response.headers["X-Request-Id"], response.headers.get("X-Shipway-Release", "")
                    self.replies.append(Reply(response.status, name, release, text))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.replies.append(Reply(0, "", "", repr(error)))
                await asyncio.sleep(0.1)
            await asyncio.sleep(self.pause_s)


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 90.0) -> Any:
    """Return the first true value of a condition."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)
    return found


def alive(pid: int) -> bool:
    """Tell whether a process runs, a zombie being dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return alive


@pytest.fixture
def load() -> type[Load]:
    return Load


@pytest.fixture
def foreground(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a command that goes on running; what is left of it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(app: App, *arguments: str) -> subprocess.Popen[bytes]:
        log = (tmp_path / f"{arguments[0]}-{len(started)}.log").open("wb")
        with log:
            command = [*PROGRAM, *arguments, "--project", str(app.root)]
            started.append(
                subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment(PYTHONUNBUFFERED="1"))
            )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[..., App]]:
    """Makes projects and stops what they started, however the test ends."""
    made: list[App] = []

    def make(files: dict[str, str] | None = None, name: str = "app") -> App:
        app = App(tmp_path / name)
        for path, text in (files or {}).items():
            (app.root / path).parent.mkdir(parents=True, exist_ok=True)
            (app.root / path).write_text(text)
        made.append(app)
        return app

    yield make
    for app in made:
        app.run("down", expect=None)


@pytest.fixture
def chat(project: Callable[..., App]) -> App:
    """A chat on the echo engine with a release that serves, and no load yet."""
    case = '{"id": "%d", "question": "Say word%d", "must_contain": ["word%d"]}'
    cases = "\n".join(case % (number, number, number) for number in range(10))
    app = project({"shipway.yaml": CHAT, "evals/cases.jsonl": cases, "prompts/chat.yaml": PROMPT.format(version=0)})
    app.up()
    first = app.prompt(1)
    app.run("eval", "run", first)
    app.run("deploy", first)
    return app
