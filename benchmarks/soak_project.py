"""Projects of the soak: an app on echo engines and a service of one's own, with a rollout plan of some seconds.

A bad release is bad by itself: on the engine that fails, or with code that fails. The engine of the others stays well.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-m", "shipway.entrypoints.cli.main")
COMMAND_TIMEOUT_S = 180
ON_ENGINE, ON_PROCESSES = ("canary", "shadow", "flag"), ("blue-green", "rolling", "swap")
STRATEGIES = (*ON_ENGINE, *ON_PROCESSES)
ENGINE_FAULTS = ("error_500", "rate_429", "hang_before", "cut_mid")
CODE_FAULTS = ("errors", "some errors", "wrong answers", "crash after a while", "crash at start")
"""A wrong answer is seen by the smoke checks alone; what fails is rolled out without them, to be seen by users."""
# Short, to be walked a hundred times; the numbers that decide are the defaults.
_COMMON = """
  bake_s: 2
  keep_s: 2
  drain_s: 1
  unhealthy_s: 1
  cooldown_s: 0
  start_timeout_s: 15
  events: [error, timeout]
"""
_STEPS = "[{ weight: 0.2, min_bake_s: 1 }, { weight: 0.5, min_bake_s: 1 }, { weight: 1.0, min_bake_s: 1 }]"
_PLANS = {
    "canary": f"  steps: {_STEPS}\n",
    "shadow": "  sample: 1.0\n  min_pairs: 40\n",
    "flag": "  segments: [{ tenants: [default] }]\n  steps: [{ weight: 0.5, min_bake_s: 1 }]\n",
    "blue-green": "  smoke_file: smoke.yaml\n",
    "rolling": "  batches: 3\n",
    "swap": "  smoke_file: smoke.yaml\n",
}
_CHAT = """
app: soak
models:
  well: {{ engine: {engine}, model: {model}, max_out: {max_out} }}
  ill: {{ engine: echo, model: echo, max_out: 64 }}
prompts: {{ chat: prompts/chat.yaml }}
routes: {{ chat: {{ kind: chat, model: {alias}, prompt: chat }} }}
"""
_SERVICE = """
app: soak
code: { paths: [app.py] }
routes: { chat: { kind: http, command: [python, app.py], health: /healthz, timeout_s: 5 } }
"""
_SHARED = """
rates: {{ per_key_min: 10000000 }}
server: {{ workers: 2, drain_s: 2, llm_timeout_s: {timeout_s} }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat{http} }}
gates: [{{ metric: correct, min: 0.2 }}]
rollout:
  strategy: {strategy}
{plan}{common}
"""
_HTTP = ", http: { path: /, body: { text: '{question}' }, answer: label }"
_PROMPT = """
name: chat
version: "{number}"
description: A chat.
system: You are number {number}.
user: "{{question}}"
max_tokens: 16
"""
_CODE = """
import json, os, random, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NUMBER, FAULT = {number}, {fault!r}
BEGAN = time.monotonic()
if FAULT == "crash at start":
    sys.exit(7)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.reply(200, {{"status": "ok"}})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        time.sleep(0.02)
        if FAULT == "crash after a while" and time.monotonic() - BEGAN > 2:
            os._exit(9)
        fails = FAULT == "errors" or (FAULT == "some errors" and random.random() < 0.4)
        label = "?" if FAULT == "wrong answers" else "order"
        # Smoke checks ask as they ask a model.
        message = {{"index": 0, "finish_reason": "stop", "message": {{"role": "assistant", "content": label}}}}
        said = {{"label": label, "number": NUMBER, "object": "chat.completion", "model": "chat", "choices": [message]}}
        self.reply(500 if fails else 200, said)

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = False


if FAULT == "slow start":
    time.sleep(2)
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
_SMOKE = '- { name: knows an order, kind: contains, route: chat, prompt: "Where is it?", contains: order }\n'


@dataclass(slots=True)
class Project:
    """One project, its stable release and its key."""

    root: Path
    strategy: str
    real: bool = False
    key: str = ""
    number: int = 0

    @property
    def on_engine(self) -> bool:
        """Tell whether its releases are traffic alone."""
        return self.strategy in ON_ENGINE

    def begin(self) -> None:
        """Start it with a first release."""
        (self.root / "evals").mkdir(parents=True, exist_ok=True)
        (self.root / "prompts").mkdir(exist_ok=True)
        cases = [{"id": str(n), "question": f"order {n}", "must_contain": ["order"]} for n in range(10)]
        (self.root / "evals" / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
        (self.root / "smoke.yaml").write_text(_SMOKE)
        self.write("")
        self.key = self.run("up")["key"]["secret"]
        self.run("deploy", self.release(""), "--override-gate", "soak")

    def release(self, fault: str) -> str:
        """Make a release with a fault, or a good one."""
        self.number += 1
        self.write(fault)
        if self.on_engine and fault:
            body = json.dumps({"kind": fault, "rate": 1.0, "ms": 500}).encode()
            engine = self.endpoints["engines"]["ill"].removesuffix("/v1")
            urllib.request.urlopen(f"{engine}/faults", data=body, timeout=10).close()  # noqa: S310 - our own engine
        return str(self.run("release", "create", "-m", fault or "good")["release"])

    def write(self, fault: str) -> None:
        """Write the files of the next release."""
        engine = ("llamacpp", "smollm2-135m-instruct", 16) if self.real else ("echo", "echo", 64)
        head = _SERVICE
        if self.on_engine:
            names = dict(zip(("engine", "model", "max_out"), engine, strict=True))
            head = _CHAT.format(alias="ill" if fault else "well", **names)
        smoked = self.strategy in {"blue-green", "swap"} and fault in {"", "wrong answers"}
        shared = _SHARED.format(
            strategy=self.strategy,
            plan=_PLANS[self.strategy] + ("  smoke: true\n" if smoked else ""),
            common=_COMMON,
            http="" if self.on_engine else _HTTP,
            timeout_s=60 if self.real else 2,
        )
        (self.root / "shipway.yaml").write_text(head + shared)
        (self.root / "prompts" / "chat.yaml").write_text(_PROMPT.replace("{number}", str(self.number)))
        (self.root / "app.py").write_text(_CODE.format(number=self.number, fault=fault))

    def run(self, *arguments: str) -> Any:
        """Run a command and return its JSON.

        Raises:
            RuntimeError: it failed.
        """
        command = [*PROGRAM, *arguments, "--project", str(self.root), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
        if done.returncode:
            raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stdout[-800:]} {done.stderr[-800:]}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def end(self) -> None:
        """Stop all of it."""
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            self.run("down")

    @property
    def endpoints(self) -> dict[str, Any]:
        """Where its processes listen."""
        found: dict[str, Any] = json.loads((self.root / ".shipway" / "run" / "endpoints.json").read_text())
        return found

    def pids(self) -> dict[str, int | None]:
        """Return its processes by name."""
        found = json.loads((self.root / ".shipway" / "run" / "processes.json").read_text())
        return {"supervisor": found["supervisor"], **{item["name"]: item["pid"] for item in found["processes"]}}

    def kill(self, name: str) -> int | None:
        """End one of its processes at once, and return which."""
        pid = self.pids().get(name)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read its store."""
        uri = f"file:{self.root / '.shipway' / 'state.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=30)) as store:
            return store.execute(statement, values).fetchall()

    def rollout(self, name: str) -> dict[str, Any]:
        """Return the row of a rollout."""
        found = self.query("SELECT body FROM documents WHERE kind = 'rollout' AND key = ?", name)
        body: dict[str, Any] = json.loads(found[0][0])
        return body


def wait_for(condition: Callable[[], Any], timeout_s: float) -> Any:
    """Return the first true value of a condition, or its last one after the time."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < end_s:
        time.sleep(0.05)
    return found
