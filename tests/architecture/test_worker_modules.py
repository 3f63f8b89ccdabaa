"""What a gateway worker has in its memory: the libraries that serve a request, and no other."""

import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.program import run_program

SERVING = {"anyio", "httptools", "orjson", "pydantic", "uvloop", "wsproto", "yaml"}
"""A library more is megabytes more in every worker: measure it, then name it here."""
BROUGHT_ALONG = {
    *("annotated_types", "cython_runtime", "h11", "pydantic_core", "sniffio", "typing_extensions", "typing_inspection"),
}
# Prompt files are read with it, by chat routes too.
OF_RAG = {"shipway.rag", "shipway.rag.compose"}

REPORT = """
names = sorted(name for name in sys.modules if not name.startswith("_"))
sys.stderr.write("MODULES " + json.dumps([name for name in names if name.partition(".")[0] not in known]))
"""
IMPORTED = f"""
import json, sys
known = sys.stdlib_module_names
import shipway.entrypoints.gateway_process
{REPORT}"""
SERVED = f"""
import json, sys
from pathlib import Path
known = sys.stdlib_module_names
from shipway.entrypoints.gateway_process import run_gateway
run_gateway(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), 0)
{REPORT}"""

PROJECT = """
app: light
models: {{ up: {{ engine: openai, model: m, base_url: "{url}/v1", price: {{ input: 1.0, output: 2.0 }} }} }}
prompts: {{ chat: prompts/chat.yaml }}
routes: {{ chat: {{ kind: chat, model: up, prompt: chat }} }}
rates: {{ per_key_min: 1000, tokens_per_min: 100000, concurrent_per_key: 10 }}
budgets: {{ daily_usd: 10, key_monthly_usd: 5 }}
routing: {{ rules: [{{ tenant: nobody, to: up }}] }}
cache: {{ routes: {{ chat: {{ ttl_s: 60 }} }} }}
memory: {{ routes: {{ chat: {{ ttl_s: 60 }} }} }}
telemetry: {{ metrics_public: true, traces: {{ exporter: file, ratio: 1.0 }} }}
server: {{ drain_s: 2 }}
"""
PROMPT = 'name: chat\nversion: "1"\ndescription: A chat.\nsystem: You answer.\nuser: "{question}"\n'
ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


class Engine(BaseHTTPRequestHandler):
    """Answers everything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        data = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def engine() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def surplus(written: str) -> set[str]:
    """Return the libraries that are too many, and what of `rag` is."""
    names = set(json.loads(written.rpartition("MODULES ")[2]))
    libraries = {name.partition(".")[0] for name in names} - {"shipway"}
    return (libraries - SERVING - BROUGHT_ALONG) | {name for name in names if name.startswith("shipway.rag")} - OF_RAG


def command(root: Path, *arguments: str) -> Any:
    done = run_program(*arguments, "--json", "--project", str(root), timeout_s=60)
    assert done.code == 0, done.err
    return done.json


def ask(url: str, key: str, body: dict[str, Any] | None = None) -> bytes:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read()


@contextmanager
def worker(root: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a worker that says at its end what it has loaded; yields it and its address once it serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-c", SERVED, str(root), str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("snapshot_applied" in line for line in process.stdout)
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def test_what_a_worker_imports_is_what_serves():
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, timeout=60)

    assert surplus(done.stderr) == set()


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_a_worker_of_chat_routes_that_has_served_with_every_policy_has_loaded_nothing_else(tmp_path):
    with engine() as url:
        (tmp_path / "prompts").mkdir()
        (tmp_path / "prompts" / "chat.yaml").write_text(PROMPT)
        (tmp_path / "shipway.yaml").write_text(PROJECT.format(url=url))
        release = command(tmp_path, "release", "create")["release"]
        command(tmp_path, "deploy", release, "--override-gate", "test")
        key = command(tmp_path, "key", "create", "--tenant", "acme")["secret"]
        with worker(tmp_path) as (process, gateway):
            question = {"model": "chat", "messages": [{"role": "user", "content": "Is it?"}], "temperature": 0}
            answers = [ask(f"{gateway}/v1/chat/completions", key, question) for _ in range(2)]
            assert [json.loads(answer)["choices"][0]["message"]["content"] for answer in answers] == ["Yes.", "Yes."]
            assert b"shipway_requests_total" in ask(f"{gateway}/metrics", key)
            process.terminate()
            _, written = process.communicate(timeout=30)

    assert surplus(written) == set()
