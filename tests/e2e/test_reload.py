"""`shipway reload` on real workers: all obey or none does, no request fails, nothing is lost or left behind."""

import asyncio
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest

from shipway.adapters.local_process.host import LocalHost
from shipway.config.loading import load_project
from shipway.core.clock import SystemClock
from shipway.services.application import Workspace
from shipway.services.config_board import ConfigBoard
from shipway.services.reloading import ReloadCommand, Reloaded

PROJECT = """
app: reloaded
models:
  echo: {{ engine: echo, model: echo, max_out: 64, price: {{ input: {usd}, output: {usd} }} }}
  far: {{ engine: openai, model: far, base_url: "{far}", api_key: {{ file: {secret} }} }}
prompts: {{ chat: prompts/chat.yaml }}
routes:
  chat: {{ kind: chat, model: echo, prompt: chat }}
  long: {{ kind: chat, model: far }}
rates: {{ per_key_min: {per_min}, headers: {headers} }}
cache: {{ routes: {{ {cached} }} }}
routing: {{ retries: {{ attempts: {attempts} }} }}
server: {{ drain_s: 2, workers: 2 }}
evals: {{ dataset: evals/cases.jsonl, split: all, route: chat }}
gates: [{{ metric: correct, min: 0.2 }}]
"""
PROMPT = """
name: chat
version: "1"
description: A chat.
system: You are an assistant.
user: "{{question}}"
max_tokens: 64
"""
CASES = "\n".join(
    json.dumps({"id": str(number), "question": f"Say word{number}", "must_contain": [f"word{number}"]})
    for number in range(10)
)
ASK = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
WITHIN_S = 15.0
"""The promise is a second, which `obeyed_s` shows; a machine that pauses its processes must not fail a test."""
CHUNKS = 20
LIMIT = "x-ratelimit-limit-requests"

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@contextmanager
def far_engine(name: str) -> Iterator[str]:
    """An engine that streams for two seconds and says who it is; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not body.get("stream"):
                whole = {"choices": [{"message": {"role": "assistant", "content": name}}], "usage": {}}
                self._send("application/json", [json.dumps(whole).encode()], 0.0)
                return
            pieces = [{"choices": [{"index": 0, "delta": {"content": f"{name} "}}]} for _ in range(CHUNKS)]
            self._send(
                "text/event-stream",
                [*(f"data: {json.dumps(p)}\n\n".encode() for p in pieces), b"data: [DONE]\n\n"],
                0.1,
            )

        def _send(self, kind: str, parts: list[bytes], pause_s: float) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in parts:
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                self.wfile.flush()
                time.sleep(pause_s)
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Settings:
    """The project file, rewritten."""

    def __init__(self, root: Path, far: str) -> None:
        self.root = root
        self.values: dict[str, Any] = {
            "far": far,
            "secret": "far.key",
            "per_min": 1_000_000,
            "cached": "",
            "attempts": 3,
            "headers": "all",
            "usd": 0,
        }

    def write(self, **changed: Any) -> str:
        self.values.update(changed)
        text = PROJECT.format(**self.values)
        (self.root / "shipway.yaml").write_text(text)
        return text


@pytest.fixture(scope="module")
def engines():
    with far_engine("first") as first, far_engine("second") as second:
        yield first, second


@pytest.fixture
def reloadable(project, engines):
    """A chat with a release that serves on two workers, and its project file."""
    app = project({"evals/cases.jsonl": CASES, "prompts/chat.yaml": PROMPT, "far.key": "secret"})
    settings = Settings(app.root, engines[0])
    settings.write()
    app.up()
    first = app.release()
    app.run("eval", "run", first)
    app.run("deploy", first)
    return app, settings


class Callers:
    """Clients that take a new connection for each request, so that every worker gets some."""

    def __init__(self, app) -> None:
        self.app = app
        self.seen: list[tuple[float, float, int, str]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(3)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _call(self, number: int) -> None:
        async def forever() -> None:
            for turn in itertools.count():
                if self._stop.is_set():
                    return
                began_s = time.monotonic()
                status, headers, _ = await asked(self.app, f"Say {number} {turn}")
                self.seen.append((began_s, time.monotonic(), status, headers.get(LIMIT, "")))

        asyncio.run(forever())


async def asked(app, text: str, route: str = "chat") -> tuple[int, dict[str, str], str]:
    body = {"model": route, "messages": [{"role": "user", "content": text}], "temperature": 0}
    headers = {"Authorization": f"Bearer {app.key}"}
    url = app.endpoints["gateway"] + "/v1/chat/completions"
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.post(url, json=body, headers=headers) as response,
        ):
            found = {name.lower(): value for name, value in response.headers.items()}
            return response.status, found, await response.text()
    except aiohttp.ClientError as error:
        return 0, {}, repr(error)


def ask(app, text: str, route: str = "chat") -> tuple[int, dict[str, str], str]:
    return asyncio.run(asked(app, text, route))


def test_under_load_every_worker_swaps_soon_and_no_request_fails(reloadable, until):
    app, settings = reloadable
    with Callers(app) as callers:
        until(lambda: len(callers.seen) > 50, "requests by the first configuration")
        for limit in (500_000, 700_000, 900_000):
            settings.write(per_min=limit, attempts=limit // 100_000, cached="chat: {}" if limit == 700_000 else "")
            ordered_s = time.monotonic()
            done = app.json("reload")
            returned_s = time.monotonic()
            assert len(done["workers"]) == 2
            assert done["obeyed_s"] < WITHIN_S
            assert {"rates.per_key_min", "routing.retries.attempts"} <= set(done["changed"])
            seen = len(callers.seen)
            until(lambda seen=seen: len(callers.seen) > seen + 50, "requests by the next configuration")
            old_s = [end for began, end, _, found in callers.seen if began > ordered_s and found != str(limit)]
            new_s = [began for began, _, _, found in callers.seen if found == str(limit)]
            assert max(old_s, default=0.0) - min(new_s) < WITHIN_S
            assert [found for began, _, _, found in callers.seen if began > returned_s and found != str(limit)] == []
    assert {status for _, _, status, _ in callers.seen} == {200}
    events = [event for event in app.json("audit", "list") if event["action"] == "config.reloaded"]
    assert len(events) == 3


def test_requests_on_kept_connections_are_charged_by_the_new_prices_on_every_worker(reloadable, load, until):
    app, settings = reloadable
    settings.write(headers="refused")
    app.run("reload")

    def costs(since_s: float) -> set[tuple[str, bool]]:
        rows = (json.loads(row[0]) for row in app.query("SELECT body FROM records"))
        return {(row["worker"], row["cost_usd"] > 0) for row in rows if row["at_s"] > since_s}

    # More clients than workers, each on a connection of its own that it keeps.
    with load(app, "/v1/chat/completions", ASK, clients=12, pause_s=0.005) as clients:
        for usd in (5, 0, 5):
            settings.write(usd=usd)
            app.run("reload")
            now_s = time.time()
            seen = len(clients.answered)
            until(lambda seen=seen: len(clients.answered) > seen + 100, "answers by the new prices")
            until(lambda now_s=now_s: len(costs(now_s)) >= 2, "records of both workers")
            assert {is_charged for _, is_charged in costs(now_s)} == {usd > 0}
    assert clients.failed == []


def test_a_configuration_that_cannot_be_served_by_is_refused_by_all_and_the_old_one_goes_on(reloadable, engines):
    app, settings = reloadable
    good = settings.write(per_min=400_000)
    app.run("reload")

    broken = good.replace("engine: openai", "engine: opnai")
    (app.root / "shipway.yaml").write_text(broken)
    refused = app.run("reload", expect=2)
    line = broken.splitlines().index(next(text for text in broken.splitlines() if "opnai" in text)) + 1
    assert f"shipway.yaml:{line}: models.far.engine" in refused.err

    # Right to the letter, but what a worker needs for it is not there.
    settings.write(secret="gone.key", per_min=300_000)
    failed = app.run("reload", expect=3)
    assert "nothing was changed" in failed.err
    assert "gone.key" in failed.err
    assert {ask(app, "hello")[1][LIMIT] for _ in range(20)} == {"400000"}

    # A worker that dies meanwhile comes back with what the others obey, not with the file as it lies there.
    killed = app.pids()["gateway-0"]
    os.kill(killed, signal.SIGKILL)
    waited_until_s = time.monotonic() + 30
    board = ConfigBoard(Workspace(app.root), LocalHost())
    while len([name for name in board.living() if not name.endswith(f"-{killed}")]) < 2:
        assert time.monotonic() < waited_until_s
        time.sleep(0.05)
    assert {ask(app, "hello")[1][LIMIT] for _ in range(20)} == {"400000"}
    settings.write(secret="far.key", per_min=300_000)
    assert len(app.json("reload")["workers"]) == 2


def test_a_stream_ends_on_the_engine_it_began_with_and_the_next_request_takes_the_new_one(reloadable, engines):
    app, settings = reloadable
    with ThreadPoolExecutor() as pool:
        streams = [pool.submit(asyncio.run, streamed(app)) for _ in range(6)]
        time.sleep(0.5)
        settings.write(far=engines[1])
        done = app.json("reload")
        assert "models.far.base_url" in done["changed"]
        after = [json.loads(ask(app, f"who {number}", "long")[2]) for number in range(6)]
        assert {reply["choices"][0]["message"]["content"] for reply in after} == {"second"}
        for stream in streams:
            text = stream.result()
            assert text.count("first ") == CHUNKS
            assert text.endswith("data: [DONE]\n\n")


async def streamed(app) -> str:
    body = {"model": "long", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {app.key}"}
    url = app.endpoints["gateway"] + "/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
        assert response.status == 200
        return await response.text()


def test_what_is_used_of_a_limit_and_what_is_cached_outlive_a_reload(reloadable):
    app, settings = reloadable
    settings.write(cached="chat: {}")
    app.run("reload")
    for _ in range(20):
        ask(app, "the same question")
    settings.write(attempts=5)
    app.run("reload")
    assert {ask(app, "the same question")[1].get("x-shipway-cache") for _ in range(10)} == {"hit"}

    settings.write(per_min=10)
    app.run("reload")
    assert [ask(app, "the same question")[0] for _ in range(8)].count(200) <= 5
    settings.write(attempts=4)
    app.run("reload")
    # A tenth of a minute gives one more; a fresh count would give five.
    assert [ask(app, "the same question")[0] for _ in range(5)].count(200) <= 2


def test_commands_at_the_same_time_and_a_hangup_are_obeyed_one_after_the_other(reloadable, until):
    app, settings = reloadable
    settings.write(per_min=600_000)
    with ThreadPoolExecutor() as pool:
        done = [each.result() for each in [pool.submit(app.json, "reload") for _ in range(3)]]
    assert len({each["revision"] for each in done}) == 3
    assert all(len(each["workers"]) == 2 for each in done)

    settings.write(per_min=650_000)
    os.kill(app.pids()["supervisor"], signal.SIGHUP)
    until(lambda: {ask(app, "hello")[1][LIMIT] for _ in range(8)} == {"650000"}, "the workers obey a hangup")
    assert "obey" in (app.root / ".shipway" / "logs" / "supervisor.log").read_text()


def test_what_only_a_restart_or_a_release_changes_is_named(reloadable):
    app, settings = reloadable
    text = settings.write(per_min=550_000)
    text = text.replace("workers: 2", "workers: 3, port: 1").replace("model: far,", "model: further,")
    (app.root / "shipway.yaml").write_text(text + "logging: { level: DEBUG }\n")

    done = app.json("reload")

    assert done["changed"] == ["rates.per_key_min"]
    assert set(done["at_start"]) == {"server.workers", "server.port"}
    assert done["at_restart"] == ["logging.level"]
    assert done["with_release"] == ["models.far.model"]
    assert {ask(app, "hello")[0] for _ in range(6)} == {200}


def test_two_hundred_reloads_leave_nothing_behind(reloadable, engines):
    app, settings = reloadable
    board = ConfigBoard(Workspace(app.root), LocalHost())

    async def check(files: Path) -> Any:
        return load_project(app.root, {}, files)

    async def note(*_: object) -> None:
        pass

    command = ReloadCommand(board, app.root, "local", SystemClock(), check, note)

    def reloaded(count: int) -> list[Reloaded]:
        found = []
        for number in range(count):
            kept = "chat: {}, long: {}" if number % 2 else ""
            settings.write(per_min=1_000_000 + number, far=engines[number % 2], cached=kept, headers="refused")
            found.append(anyio.run(lambda: command.reload(within_s=20)))
            assert ask(app, f"hello {number}", "long")[0] == 200
        return found

    workers = [pid for name, pid in app.pids().items() if name.startswith("gateway")]
    reloaded(50)
    before = [held(pid) for pid in workers]
    took_s = [done.obeyed_s for done in reloaded(150)]
    after = [held(pid) for pid in workers]

    assert max(took_s) < WITHIN_S
    for (files, memory_kb), (files_now, memory_kb_now) in zip(before, after, strict=True):
        assert files_now <= files + 4
        assert memory_kb_now < memory_kb + 4_000
    assert len(list(board.files(1).parent.glob("revision-*"))) < 10


def held(pid: int) -> tuple[int, int]:
    """Return a process's open files and its memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return len(list(Path(f"/proc/{pid}/fd").iterdir())), int(resident.split()[1])
