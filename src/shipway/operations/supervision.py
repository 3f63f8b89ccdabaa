"""Keeping the processes of one machine running: start, restart with backoff, stop in order.

Above: `shipway supervise`, which `shipway up` detaches. Below: the `Spawner` port. The set of processes may change
while it runs: `set_wanted` is called with what should be there, and the supervisor makes it so.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from shipway.core.clock import Clock

FIRST_RESTART_DELAY_S = 0.2
LONGEST_RESTART_DELAY_S = 10.0
STABLE_AFTER_S = 30.0
"""A process that lived this long starts again after the shortest delay."""
STOP_GRACE_S = 10.0
KILL_GRACE_S = 5.0
"""A killed process that is not gone by now hangs in the kernel; nothing here can end it."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that should run. `stop_order`: lower ones are stopped first."""

    name: str
    argv: tuple[str, ...]
    log_file: Path
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_order: int = 0
    stop_grace_s: float = STOP_GRACE_S


class RunningProcess(Protocol):
    """A started process."""

    @property
    def pid(self) -> int:
        """Return its id."""
        ...

    async def wait(self) -> int:
        """Return its exit code, negative for a signal, once it has ended."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


class Spawner(Protocol):
    """What starts processes; they must not outlive this one."""

    async def start(self, spec: ProcessSpec) -> RunningProcess:
        """Start a process.

        Raises:
            OSError: the program cannot be started.
        """
        ...


@dataclass(slots=True)
class ProcessState:
    """What is known of one process; `pid` is None while it is not running."""

    name: str
    pid: int | None = None
    started_at_s: float | None = None
    restarts: int = 0
    last_exit: int | None = None
    problem: str = ""


@dataclass(slots=True)
class _Watched:
    spec: ProcessSpec
    scope: anyio.CancelScope
    state: ProcessState
    running: RunningProcess | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)
    stopping: anyio.Event = field(default_factory=anyio.Event)


class Supervisor:
    """Keeps a changing set of processes running.

    Its tasks do not end when their task group is cancelled, so that every process is stopped in order and waited for:
    whoever calls `set_wanted` must call `stop_all` before the group can end.
    """

    def __init__(
        self,
        spawner: Spawner,
        clock: Clock,
        on_change: Callable[[list[ProcessState]], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._spawner = spawner
        self._clock = clock
        self._on_change = on_change
        self._sleep = sleep
        self._watched: dict[str, _Watched] = {}

    def states(self) -> list[ProcessState]:
        """Return the state of every process, in name order."""
        return [self._watched[name].state for name in sorted(self._watched)]

    async def set_wanted(self, specs: Iterable[ProcessSpec], group: TaskGroup) -> None:
        """Start what is missing and stop what is no longer wanted; changed specs are restarted."""
        wanted = {spec.name: spec for spec in specs}
        dropped = {name: watched for name, watched in self._watched.items() if wanted.get(name) != watched.spec}
        await _stop_in_order(dropped.values())
        for name in dropped:
            del self._watched[name]
        for name, spec in wanted.items():
            if name not in self._watched:
                watched = _Watched(spec, anyio.CancelScope(shield=True), ProcessState(name))
                self._watched[name] = watched
                group.start_soon(self._keep, watched, name=f"keep {name}")
        self._on_change(self.states())

    async def stop_all(self) -> None:
        """Stop everything, lowest `stop_order` first, those of one order together."""
        await _stop_in_order(self._watched.values())
        self._watched.clear()
        self._on_change([])

    async def _keep(self, watched: _Watched) -> None:
        delay_s = FIRST_RESTART_DELAY_S
        try:
            with watched.scope:
                while not watched.stopping.is_set():
                    lived_s = await self._run_once(watched)
                    if watched.stopping.is_set():
                        break
                    delay_s = FIRST_RESTART_DELAY_S if lived_s >= STABLE_AFTER_S else delay_s
                    watched.state.restarts += 1
                    self._on_change(self.states())
                    await self._sleep(delay_s)
                    delay_s = min(delay_s * 2, LONGEST_RESTART_DELAY_S)
        finally:
            watched.ended.set()

    async def _run_once(self, watched: _Watched) -> float:
        started = self._clock.monotonic_s()
        try:
            running = await self._spawner.start(watched.spec)
        except OSError as error:
            watched.state.problem = f"cannot start {watched.spec.argv[0]!r}: {error.strerror or error}"
            return 0.0
        watched.running = running
        watched.state.pid, watched.state.started_at_s = running.pid, self._clock.now_s()
        watched.state.problem = ""
        self._on_change(self.states())
        code = await running.wait()
        watched.running, watched.state.pid, watched.state.last_exit = None, None, code
        if not watched.stopping.is_set():
            watched.state.problem = f"ended with {code}; see {watched.spec.log_file.name}"
        return self._clock.monotonic_s() - started


async def _stop_in_order(processes: Iterable[_Watched]) -> None:
    stopping = list(processes)
    for order in sorted({watched.spec.stop_order for watched in stopping}):
        async with anyio.create_task_group() as group:
            for watched in stopping:
                if watched.spec.stop_order == order:
                    group.start_soon(_stop, watched)


async def _stop(watched: _Watched) -> None:
    watched.stopping.set()
    if watched.running is None:
        watched.scope.cancel()
    else:
        watched.running.terminate()
    with anyio.move_on_after(watched.spec.stop_grace_s):
        await watched.ended.wait()
    if watched.ended.is_set():
        return
    if watched.running is not None:
        watched.running.kill()
    with anyio.move_on_after(KILL_GRACE_S):
        await watched.ended.wait()
    watched.scope.cancel()
