"""A supervisor over processes that do what a test says, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from shipway.core.clock import ManualClock
from shipway.core.errors import UnavailableError
from shipway.operations.supervision import Departure, ProcessSpec, ProcessState, Supervisor


class FakeProcess:
    """A process that ends, and serves, when the test or a signal says so."""

    def __init__(self, pid: int, spec: ProcessSpec, journal: list[str], *, obeys: bool) -> None:
        self.pid = pid
        self.spec = spec
        self._journal = journal
        self._obeys = obeys
        self._ended = anyio.Event()
        self._told = anyio.Event()
        self._serves = False
        self._code = 0

    async def wait(self) -> int:
        await self._ended.wait()
        return self._code

    async def serves(self) -> bool:
        await self._told.wait()
        return self._serves

    def serve(self) -> None:
        self._serves = True
        self._told.set()

    def end(self, code: int) -> None:
        self._code = code
        self._told.set()
        self._ended.set()

    def terminate(self) -> None:
        self._journal.append(f"terminate {self.spec.name}")
        if self._obeys:
            self.end(-15)

    def leave(self) -> None:
        self._journal.append(f"leave {self.spec.name}")
        if self._obeys:
            self.end(0)

    def kill(self) -> None:
        self._journal.append(f"kill {self.spec.name}")
        self.end(-9)


class FakeSpawner:
    def __init__(self) -> None:
        self.journal: list[str] = []
        self.running: dict[str, FakeProcess] = {}
        self.made: list[FakeProcess] = []
        self.disobedient: set[str] = set()
        self.missing: set[str] = set()
        self.end_at_once = 0
        self.serve_at_once = False
        self._pids = 0

    async def start(self, spec: ProcessSpec, *, succeeds: bool = False) -> FakeProcess:
        self.journal.append(f"{'succeed' if succeeds else 'start'} {spec.name}")
        if spec.argv[0] in self.missing:
            raise FileNotFoundError(2, "No such file or directory")
        self._pids += 1
        process = self.running[spec.name] = FakeProcess(
            self._pids, spec, self.journal, obeys=spec.name not in self.disobedient
        )
        self.made.append(process)
        if self.serve_at_once:
            process.serve()
        if self.end_at_once:
            self.end_at_once -= 1
            process.end(1)
        return process


class House:
    """A supervisor with a fake spawner, in virtual time."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.spawner = FakeSpawner()
        self.seen: list[list[ProcessState]] = []
        self.delays: list[float] = []
        self.asleep = anyio.Event()
        self.sleep_forever = False
        self.supervisor = Supervisor(self.spawner, self.clock, self.seen.append, sleep=self.sleep)
        self.group: TaskGroup

    async def sleep(self, delay_s: float) -> None:
        self.delays.append(delay_s)
        if self.sleep_forever:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()

    async def want(self, *specs: ProcessSpec) -> None:
        await self.supervisor.set_wanted(specs, self.group)
        await anyio.wait_all_tasks_blocked()

    async def replace(self, name: str, failures: list[str] | None = None) -> None:
        """Replace a process, and keep why it was not."""
        try:
            await self.supervisor.replace(name, self.group, within_s=60)
        except UnavailableError as error:
            assert failures is not None
            failures.append(error.message)

    async def replaced(self, name: str) -> Departure:
        """Replace a process by one that serves at once."""
        self.spawner.serve_at_once = True
        return await self.supervisor.replace(name, self.group, within_s=60)

    def state(self, name: str) -> ProcessState:
        return next(state for state in self.supervisor.states() if state.name == name)

    @property
    def journal(self) -> list[str]:
        return self.spawner.journal


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    made = House()
    async with anyio.create_task_group() as group:
        made.group = group
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                await made.supervisor.stop_all()


def spec(name: str, *, order: int = 0, grace_s: float = 60.0, program: str = "program") -> ProcessSpec:
    return ProcessSpec(name, (program, name), Path(f"{name}.log"), stop_order=order, stop_grace_s=grace_s)
