"""A repository, a project beside it whose receiver runs as a process, and pushes as GitHub signs them."""

import hashlib
import hmac
import itertools
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.cli.conftest import App
from tests.program import PROGRAM, environment
from tests.unit.adapters.git.test_checkouts import Repository
from tests.unit.pipeline.webhooks.payloads import github_push

SECRET = "It's a Secret to Everybody"
_PATIENCE_S = 90


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for what other processes do."""
    end_s = time.monotonic() + _PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < end_s, f"waited in vain for: {what}"
        time.sleep(0.05)
    return found


def alive(pid: int) -> bool:
    """Tell whether a process is there; one that nobody has collected yet is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Site:
    """`app` is where the receiver works; the repository is what it fetches from."""

    app: App
    repository: Repository
    pipeline: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: int = 0
    numbers: Any = field(default_factory=itertools.count)

    def configure(self, webhooks: str) -> None:
        """Write the project file of the receiver."""
        own = f"webhooks: {{ repository: ../repository, name: acme/assistant, {webhooks} }}\n"
        self.app.write("shipway.yaml", self.pipeline + own)

    def commit(self, **files: str) -> str:
        return self.repository.commit(**{"shipway.yaml": self.pipeline, **files})

    def serve(self, *options: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start the receiver and wait until it takes requests."""
        log = self.app.root / f"serve-{len(self.started)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*PROGRAM, "pipeline", "serve", "--port", "0", *options, "--project", str(self.app.root)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(HOOK=SECRET, **variables),
            )
        self.started.append(process)
        self.port = int(until(lambda: self.ready(log, process), "the receiver")["port"])
        return process

    def ready(self, log: Path, process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        assert process.poll() is None, log.read_text()
        lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return next((line for line in lines if line["event"] == "webhooks_ready"), None)

    def send(self, payload: dict[str, Any], event: str = "push", *, secret: str = SECRET) -> tuple[int, Any]:
        """Send a request and return status and answer."""
        body = json.dumps({"number": next(self.numbers), **payload}).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(),
        }
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/github", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def push(self, commit: str, branch: str = "main") -> str:
        """Have a push queued and return the id of its run."""
        status, answer = self.send(github_push(f"refs/heads/{branch}", after=commit))
        assert status == 202, answer
        return str(answer["run"])

    def runs(self) -> dict[str, dict[str, Any]]:
        done = self.app.run("pipeline", "queue", "--all", "--json")
        assert done.code == 0, done.err
        return {run["id"]: run for run in done.json["runs"]}

    def ended(self, run: str, state: str) -> dict[str, Any]:
        """Wait until a run has ended, as it should, and return it."""
        live = {"queued", "running", "interrupted"}
        found = until(lambda: (entry := self.runs()[run])["state"] not in live and entry, f"the end of {run}")
        log = Path(found["log"]).read_text() if found["log"] else ""
        assert found["state"] == state, (found, log)
        return dict(found)

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(_PATIENCE_S)

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait(_PATIENCE_S)
