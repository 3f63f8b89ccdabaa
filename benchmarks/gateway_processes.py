"""Processes of the gateway benchmark: pinned to a processor, in groups of their own, ended by id whatever happens."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

ENDING_S = 8.0
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Which processors who gets: the gateways theirs, upstream and load generator the rest."""

    gateway: tuple[int, ...]
    upstream: int
    load: int

    @classmethod
    def choose(cls, workers: int = 1) -> "Place":
        """Return the places on this machine.

        With two processors upstream and load share the second, and all workers of a gateway the first: what a second
        worker costs is then seen in processor time per request.
        """
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < 2:
            raise SystemExit("bench-gateway needs two processors: one for the gateway, one for the load")
        if len(cpus) < 2 + workers:
            return cls((cpus[0],), cpus[1], cpus[1])
        return cls(tuple(cpus[:workers]), cpus[-2], cpus[-1])


def busy_share(window_s: float = 1.0) -> float:
    """Return the share of all processors that is in use: before a benchmark, by others."""

    def read() -> tuple[int, int]:
        ticks = [int(text) for text in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
        return sum(ticks), ticks[3] + ticks[4]

    all_before, idle_before = read()
    time.sleep(window_s)
    all_after, idle_after = read()
    return 1 - (idle_after - idle_before) / max(1, all_after - all_before)


def carry_niceness(pid: int) -> None:
    """Give a process's session this program's niceness: where sessions are scheduled as groups, only theirs counts.

    So `nice -n -15` before a benchmark holds on a machine that others use too.
    """
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(nice), encoding="ascii")


def waited_s(pids: Sequence[int]) -> float:
    """Return how long the main threads of processes have been ready to run without a processor, the longest of them."""
    longest_ns = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            longest_ns = max(longest_ns, int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]))
    return longest_ns / 1e9


@dataclass(slots=True)
class Processes:
    """What this benchmark started; leaving the block ends all of it."""

    folder: Path
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        name: str,
        cpus: Sequence[int],
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process on some processors; what it prints goes to a file in the folder.

        Should this program be killed, the process is told to end by the kernel.
        """
        pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", ",".join(map(str, cpus)), *map(str, argv)]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd or self.folder,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )
        self._running.append(process)
        carry_niceness(process.pid)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and those that it started."""
        members = tree(process.pid)
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING_S)
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if pid != process.pid and os.getsid(pid) == process.pid:
                    os.kill(pid, signal.SIGKILL)
        if process.poll() is None:
            _signal(process.pid, signal.SIGKILL)
            process.wait(ENDING_S)
        self._running.remove(process)

    def log(self, name: str) -> str:
        """Return the end of what a process printed."""
        path = self.folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End everything, undisturbed by a second Ctrl-C."""
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in list(self._running):
            self.end(process)
        signal.signal(signal.SIGINT, handler)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text(encoding="ascii").split()]
    return found


def rss_mb(pids: Sequence[int]) -> float:
    """Return the resident memory of processes in MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1])
    return total / _KIB


class PeakMemory:
    """The largest resident memory of processes while a block runs."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_mb = 0.0

    def _watch(self) -> None:
        while not self._stop.wait(0.25):
            self.peak_mb = max(self.peak_mb, rss_mb(self._pids))

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Look a last time."""
        self._stop.set()
        self._thread.join()
        self.peak_mb = max(self.peak_mb, rss_mb(self._pids))


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_answered(port: int, request: bytes, process: subprocess.Popen[bytes], timeout_s: float) -> float:
    """Ask until the answer is 200; return the seconds that took.

    Raises:
        RuntimeError: the process ended, or no such answer came in time.
    """
    began_s = time.perf_counter()
    last = "nothing"
    while (waited_s := time.perf_counter() - began_s) < timeout_s:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 5.0) as connection:
                connection.sendall(request)
                reply = connection.recv(65536)
        except OSError as error:
            last = repr(error)
        else:
            if reply.startswith(b"HTTP/1.1 200"):
                return waited_s
            last = reply[:600].decode("latin-1")
        time.sleep(0.02)
    raise RuntimeError(f"no 200 within {timeout_s} s; last came {last}")


def wait_until_listening(port: int, listeners: int, timeout_s: float) -> None:
    """Wait until so many sockets listen on a port that several workers share.

    Raises:
        RuntimeError: there were fewer in time.
    """
    end_s = time.monotonic() + timeout_s
    local = f"0100007F:{port:04X}"
    while True:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
        found = sum(line[1] == local and line[3] == "0A" for line in lines)
        if found >= listeners:
            return
        if time.monotonic() > end_s:
            raise RuntimeError(f"{found} of {listeners} workers listen on port {port}")
        time.sleep(0.02)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn signals into an exception, so that blocks are left in order."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
