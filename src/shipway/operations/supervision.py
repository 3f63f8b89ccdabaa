"""Keeping the processes of one machine running: start, restart with backoff, replace, stop in order.

Above: `shipway supervise`, which `shipway up` detaches. Below: the `Spawner` port. The set of processes may change
while it runs: `set_wanted` is called with what should be there, and the supervisor makes it so.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Protocol

import anyio
from anyio.abc import TaskGroup

from shipway.core.clock import Clock
from shipway.core.errors import UnavailableError

FIRST_RESTART_DELAY_S = 0.2
LONGEST_RESTART_DELAY_S = 10.0
STABLE_AFTER_S = 30.0
"""A process that lived this long starts again after the shortest delay."""
STOP_GRACE_S = 10.0
KILL_GRACE_S = 5.0
"""A killed process that is not gone by now hangs in the kernel; nothing here can end it."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What stays while the processes of one place come and go.

    A listening socket, and a pair of sockets by which one who leaves gives connections to the next.
    """

    listener: socket
    gives: socket
    takes: socket

    def close(self) -> None:
        """Let go of it; processes that sit here keep it."""
        for one in (self.listener, self.gives, self.takes):
            one.close()


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process that should run.

    `stop_order`: lower ones are stopped first. `sockets`: descriptors of listening sockets that outlive it; a process
    that has some says when it serves. `succession`: the descriptors of its seat's pair. `attempt`: with another one it
    starts anew, without restarts and pauses behind it.
    """

    name: str
    argv: tuple[str, ...]
    log_file: Path
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_order: int = 0
    stop_grace_s: float = STOP_GRACE_S
    sockets: tuple[int, ...] = ()
    succession: tuple[int, ...] = ()
    attempt: int = 0


class RunningProcess(Protocol):
    """A started process."""

    @property
    def pid(self) -> int:
        """Return its id."""
        ...

    async def wait(self) -> int:
        """Return its exit code, negative for a signal, once it has ended."""
        ...

    async def serves(self) -> bool:
        """Wait until it says that it serves; False when it ends without having done so."""
        ...

    def terminate(self) -> None:
        """Ask it to end."""
        ...

    def leave(self) -> None:
        """Ask it to end, and to give its successor what it can."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


class Spawner(Protocol):
    """What starts processes; they must not outlive this one."""

    async def start(self, spec: ProcessSpec, *, succeeds: bool = False) -> RunningProcess:
        """Start a process; one that `succeeds` another takes no work before it can do it.

        Raises:
            OSError: the program cannot be started.
        """
        ...


@dataclass(slots=True)
class ProcessState:
    """What is known of one process; `pid` is None while it is not running.

    `leaving`: the pids of those that it replaced and that still finish their work.
    """

    name: str
    pid: int | None = None
    started_at_s: float | None = None
    restarts: int = 0
    last_exit: int | None = None
    problem: str = ""
    leaving: tuple[int, ...] = ()
    attempt: int = 0


@dataclass(slots=True)
class _Watched:
    spec: ProcessSpec
    scope: anyio.CancelScope
    state: ProcessState
    running: RunningProcess | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)
    stopping: anyio.Event = field(default_factory=anyio.Event)
    killed: bool = False


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
        self._leaving: list[_Watched] = []

    def states(self) -> list[ProcessState]:
        """Return the state of every process, in name order."""
        for name, watched in self._watched.items():
            former = (old.state for old in self._leaving if old.spec.name == name)
            watched.state.leaving = tuple(state.pid for state in former if state.pid is not None)
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
                watched = _Watched(spec, anyio.CancelScope(shield=True), ProcessState(name, attempt=spec.attempt))
                self._watched[name] = watched
                group.start_soon(self._keep, watched, name=f"keep {name}")
        self._on_change(self.states())

    async def replace(self, name: str, group: TaskGroup, *, within_s: float) -> "Departure":
        """Start a second process like this one and, once it serves, tell the first one to end.

        Raises:
            UnavailableError: the second one did not serve; the first one stays.
        """
        old = self._watched.get(name)
        if old is None:
            raise UnavailableError("it does not run here")
        running = await self._successor(old.spec, within_s)
        if self._watched.get(name) is not old:
            await _end(running)
            raise UnavailableError("it is no longer wanted")
        state = ProcessState(name, running.pid, self._clock.now_s(), old.state.restarts, attempt=old.spec.attempt)
        new = self._watched[name] = _Watched(old.spec, anyio.CancelScope(shield=True), state)
        self._leaving.append(old)
        group.start_soon(self._keep, new, running, name=f"keep {name}")
        group.start_soon(self._leave, old, name=f"end the former {name}")
        self._on_change(self.states())
        return Departure(old)

    async def stop_all(self) -> None:
        """Stop everything, lowest `stop_order` first, those of one order together."""
        await _stop_in_order([*self._watched.values(), *self._leaving])
        self._watched.clear()
        self._leaving.clear()
        self._on_change([])

    async def _successor(self, spec: ProcessSpec, within_s: float) -> RunningProcess:
        try:
            running = await self._spawner.start(spec, succeeds=True)
        except OSError as error:
            raise UnavailableError(f"cannot start {spec.argv[0]!r}: {error.strerror or error}") from error
        serves: bool | None = None
        try:
            with anyio.move_on_after(within_s):
                serves = await running.serves()
        finally:
            code = None if serves else await _end(running, ends_itself=serves is False)
        if serves is None:
            raise UnavailableError(f"it did not serve within {within_s:g} s")
        if not serves:
            raise UnavailableError(f"it ended with {code} before it served")
        return running

    async def _leave(self, old: _Watched) -> None:
        await _stop(old, succeeded=True)
        if old in self._leaving:
            self._leaving.remove(old)
        self._on_change(self.states())

    async def _keep(self, watched: _Watched, running: RunningProcess | None = None) -> None:
        delay_s = FIRST_RESTART_DELAY_S
        try:
            with watched.scope:
                while not watched.stopping.is_set():
                    lived_s = await self._run_once(watched, running)
                    running = None
                    if watched.stopping.is_set():
                        break
                    delay_s = FIRST_RESTART_DELAY_S if lived_s >= STABLE_AFTER_S else delay_s
                    watched.state.restarts += 1
                    self._on_change(self.states())
                    await self._sleep(delay_s)
                    delay_s = min(delay_s * 2, LONGEST_RESTART_DELAY_S)
        finally:
            watched.ended.set()

    async def _run_once(self, watched: _Watched, running: RunningProcess | None) -> float:
        started = self._clock.monotonic_s()
        try:
            running = running or await self._spawner.start(watched.spec)
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


class Departure:
    """A process that was replaced and finishes its work."""

    def __init__(self, watched: _Watched) -> None:
        self._watched = watched

    async def wait(self) -> bool:
        """Wait for its end; False when it had to be killed."""
        await self._watched.ended.wait()
        return not self._watched.killed


async def _end(running: RunningProcess, *, ends_itself: bool = False) -> int | None:
    """End a process that nobody needs and return its exit code."""
    with anyio.CancelScope(shield=True):
        code = await _code_within(running, STOP_GRACE_S) if ends_itself else None
        if code is None:
            running.terminate()
            code = await _code_within(running, STOP_GRACE_S)
        if code is None:
            running.kill()
            code = await _code_within(running, KILL_GRACE_S)
    return code


async def _code_within(running: RunningProcess, wait_s: float) -> int | None:
    with anyio.move_on_after(wait_s):
        return await running.wait()
    return None


async def _stop_in_order(processes: Iterable[_Watched]) -> None:
    stopping = list(processes)
    for order in sorted({watched.spec.stop_order for watched in stopping}):
        async with anyio.create_task_group() as group:
            for watched in stopping:
                if watched.spec.stop_order == order:
                    group.start_soon(_stop, watched)


async def _stop(watched: _Watched, *, succeeded: bool = False) -> None:
    watched.stopping.set()
    if watched.running is None:
        watched.scope.cancel()
    elif succeeded:
        watched.running.leave()
    else:
        watched.running.terminate()
    with anyio.move_on_after(watched.spec.stop_grace_s):
        await watched.ended.wait()
    if watched.ended.is_set():
        return
    if watched.running is not None:
        watched.killed = True
        watched.running.kill()
    with anyio.move_on_after(KILL_GRACE_S):
        await watched.ended.wait()
    watched.scope.cancel()
