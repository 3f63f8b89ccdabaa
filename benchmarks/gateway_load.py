"""The upstream and the load generator (C programs in `native/`), and the requests that they exchange."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway_processes import Processes, free_port, wait_until_answered

BUILT = Path(__file__).resolve().parent.parent / ".bench" / "native"
TOKENS = 64
GAP_MS = 20.0
STREAM_MS = TOKENS * GAP_MS
_SPARE_S = 30.0

Mode = Literal["closed", "open", "stream"]


def build() -> None:
    """Have `make` compile what is older than its source."""
    targets = [f".bench/native/{name}" for name in ("upstream", "load")]
    subprocess.run(["make", "--silent", "--no-print-directory", *targets], check=True, cwd=BUILT.parents[1])


def request(*, model: str, headers: Mapping[str, str], stream: bool) -> bytes:
    """Return a chat request whose body has about 920 bytes; all contenders get the same but for model and headers."""
    question = (
        "My parcel should have arrived on Monday, the tracking page says that it left the warehouse, and nobody was at "
        "the door. I have to travel on Thursday. Can you tell me where it is now, whether I can pick it up at a shop "
        "near the station, and what happens to it while I am away? The order is the one with two lamps and a table. "
    )
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You answer questions of a shop's customers, briefly and politely."},
            {"role": "user", "content": (question * 2)[:664]},
        ],
        "temperature": 0.2,
        "max_tokens": 200,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    raw = json.dumps(body, separators=(",", ":")).encode()
    told = {"host": "127.0.0.1", "content-type": "application/json", **headers, "content-length": str(len(raw))}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n".encode() + raw


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Return its address up to `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"


def start_upstream(processes: Processes, cpu: int) -> Upstream:
    """Start the upstream."""
    port = free_port()
    argv: list[str | Path] = [BUILT / "upstream", str(port), str(TOKENS), str(int(GAP_MS * 1000))]
    process = processes.start(argv, name="upstream", cpus=[cpu])
    wait_until_answered(port, request(model="bench-model", headers={}, stream=False), process, 10.0)
    return Upstream(port, process.pid)


@dataclass(frozen=True, slots=True)
class Load:
    """One run of the load generator; `rate` is requests a second (open), milliseconds of spread (stream)."""

    mode: Mode
    connections: int
    warmup_s: float
    measure_s: float
    rate: float = 0.0

    @property
    def name(self) -> str:
        """Return the name under which its figures are kept."""
        return f"{self.mode}_{int(self.rate) if self.mode == 'open' else self.connections}"

    def run(self, port: int, request_file: Path, cpu: int, pids: Sequence[int]) -> dict[str, Any]:
        """Return what was measured; `pids` are the processes whose processor time is taken."""
        sizes = [self.connections, int(self.warmup_s * 1000), int(self.measure_s * 1000), self.rate]
        watched = ",".join(map(str, pids))
        argv = ["taskset", "--cpu-list", str(cpu), str(BUILT / "load"), self.mode, str(port), str(request_file)]
        done = subprocess.run(
            [*argv, *map(str, sizes), watched],
            check=False,
            capture_output=True,
            timeout=self.warmup_s + self.measure_s + _SPARE_S,
        )
        if done.returncode:
            raise RuntimeError(f"the load generator: {done.stderr.decode(errors='replace').strip()}")
        measured: dict[str, Any] = json.loads(done.stdout)
        return measured
