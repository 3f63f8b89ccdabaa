"""What the target's processes use of this machine while it is asked, read from Linux's /proc."""

import os
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from shipway.core.clock import Clock
from shipway.load.judging import Usage
from shipway.telemetry.families import Tables
from shipway.telemetry.processes import ProcessReader

WINDOW_S = 5.0
"""CPU use is that of so many seconds: a full second is no shortage."""
_EVERY_S = 1.0
_PARENT = 1
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")


@dataclass(slots=True)
class MachineWatch:
    """Looks every second at processes and all that they started. `pids` says which ones, anew each time."""

    pids: Callable[[], Collection[int]]
    clock: Clock
    reader: ProcessReader = field(default_factory=ProcessReader)
    proc: Path = Path("/proc")
    cpus: int = 0
    memory_bytes: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _seen: dict[int, float] = field(default_factory=dict)
    _spent_s: float = 0.0
    _window: deque[tuple[float, float]] = field(default_factory=deque)
    _most_cpu: float | None = None
    _most_memory: float | None = None

    def __post_init__(self) -> None:
        """Find out what the machine has, where nobody said it."""
        self.cpus = self.cpus or len(os.sched_getaffinity(0))
        self.memory_bytes = self.memory_bytes or memory_of(self.proc)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await self.sleep(_EVERY_S)

    def look(self) -> None:
        """Look once."""
        now_s = self.clock.monotonic_s()
        resident = 0.0
        found: dict[int, float] = {}
        for pid in descendants(self.proc, self.pids()):
            usage = self.reader.usage(pid)
            if usage:
                found[pid] = _number(usage, "process_cpu_seconds")
                resident += _number(usage, "process_resident_memory_bytes")
        if not found:
            return
        # What a process used before it was first seen is not of this test.
        self._spent_s += sum(max(spent - self._seen.get(pid, spent), 0.0) for pid, spent in found.items())
        self._seen = found
        if self.memory_bytes:
            self._most_memory = max(self._most_memory or 0.0, resident / self.memory_bytes)
        self._window.append((now_s, self._spent_s))
        while len(self._window) > 1 and now_s - self._window[1][0] >= WINDOW_S:
            self._window.popleft()
        began_s, spent_s = self._window[0]
        if now_s - began_s >= WINDOW_S:
            self._most_cpu = max(self._most_cpu or 0.0, (self._spent_s - spent_s) / (now_s - began_s) / self.cpus)

    def usage(self) -> Usage:
        """Return the highest use so far."""
        if self._most_memory is None:
            return Usage(reason="none of the target's processes was found on this machine")
        return Usage(
            self._most_cpu, self._most_memory, "" if self._most_cpu is not None else f"less than {WINDOW_S:g} s"
        )


def _number(tables: Tables, name: str) -> float:
    value = tables[name][()]
    return value if isinstance(value, float) else 0.0


def memory_of(proc: Path, limit: Path = _CGROUP_MEMORY) -> float:
    """Return the bytes of memory of this machine, or of the container where that has a lower limit; 0: unknown."""
    try:
        words = next(
            line for line in (proc / "meminfo").read_text().splitlines() if line.startswith("MemTotal:")
        ).split()
        whole = float(words[1]) * 1024.0
    except (OSError, StopIteration, ValueError, IndexError):
        return 0.0
    try:
        return min(whole, float(limit.read_text()))
    except (OSError, ValueError):
        return whole


def descendants(proc: Path, roots: Collection[int]) -> set[int]:
    """Return processes and all that they started and is still theirs."""
    children: dict[int, list[int]] = {}
    for entry in proc.glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > _PARENT:
            children.setdefault(int(fields[_PARENT]), []).append(int(entry.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found
