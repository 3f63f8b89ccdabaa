"""`shipway restart` and the supervisor's side of it, over processes that do what a test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import anyio
import pytest

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError, NotFoundError, UnavailableError
from shipway.operations.rolling import Rolled
from shipway.operations.supervision import ProcessSpec, Seat
from shipway.services import supervise as supervising
from shipway.services.application import Workspace
from shipway.services.local import Local
from shipway.services.restarting import RestartCommand
from shipway.services.running import read_json, write_json
from shipway.services.supervise import supervise


@dataclass
class FakeHost:
    """Locks that know who holds them."""

    held: set[str] = field(default_factory=set)
    _names: dict[int, str] = field(default_factory=dict)

    def lock(self, path: Path) -> int | None:
        if path.name in self.held:
            return None
        self.held.add(path.name)
        self._names[len(self._names)] = path.name
        return len(self._names) - 1

    def unlock(self, descriptor: int) -> None:
        self.held.discard(self._names[descriptor])

    def is_locked(self, path: Path) -> bool:
        return path.name in self.held

    def program(self) -> list[str]:
        return ["shipway"]


class FakeProcess:
    """Ends when asked to; a successor serves unless the spawner says what it does instead."""

    def __init__(self, pid: int, code: int | None) -> None:
        self.pid = pid
        self._ended = anyio.Event()
        self._code = code or 0
        self._fails = code is not None
        if self._fails:
            self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return self._code

    async def serves(self) -> bool:
        await anyio.lowlevel.checkpoint()
        return not self._fails

    def terminate(self) -> None:
        self._ended.set()

    kill = leave = terminate


@dataclass
class FakeSpawner:
    """`fails`: with what a successor ends before it serves; `on_succeed` is called before it is started."""

    fails: int | None = None
    succeeded: list[str] = field(default_factory=list)
    log: bytes = b""
    gate: anyio.Event | None = None
    _pids: int = 0

    async def start(self, spec: ProcessSpec, *, succeeds: bool = False) -> FakeProcess:
        self._pids += 1
        if not succeeds:
            return FakeProcess(self._pids, None)
        if self.gate is not None:
            await self.gate.wait()
        self.succeeded.append(spec.name)
        if self.log:
            with spec.log_file.open("ab") as file:
                file.write(self.log)
        return FakeProcess(self._pids, self.fails)


class Site:
    """A project whose supervisor runs in this loop."""

    def __init__(self, root: Path) -> None:
        routes = {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}
        project = Project.model_validate({"app": "a", "routes": routes, "server": {"workers": 2}})
        self.workspace = Workspace(root)
        self.clock = ManualClock()
        self.host = FakeHost()
        self.spawner = FakeSpawner()
        self.told: list[str] = []
        self.local = Local(
            LoadedProject(root, "local", project, {}), self.workspace, self.host, None, self.clock, self.sleep
        )
        self.command = RestartCommand(self.local.running)

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await anyio.sleep(0.001)

    async def restart(self) -> Rolled:
        return await self.command.restart(within_s=5, tell=self.told.append)

    def question(self) -> Path:
        return self.workspace.run / "restart.json"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(supervising, "_TICK_S", 0.001)
    return Site(tmp_path)


@asynccontextmanager
async def supervised(site: Site, sockets: int = 2, made: list[Seat] | None = None) -> AsyncIterator[None]:
    stop, kept = anyio.Event(), [] if made is None else made

    def reserve() -> list[Seat]:
        kept.extend(Seat(socket(), socket(), socket()) for _ in range(sockets))
        return kept

    async with anyio.create_task_group() as group:
        group.start_soon(supervise, site.local, site.spawner, None, stop, reserve)
        while (read_json(site.workspace.run / "processes.json") or {}).get("processes", []) == []:
            await anyio.sleep(0.001)
        try:
            yield
        finally:
            stop.set()


@pytest.mark.anyio
async def test_every_gateway_worker_is_replaced_and_nothing_else(site):
    async with supervised(site):
        done = await site.restart()

    assert done == Rolled(("gateway-0", "gateway-1"), ())
    assert site.spawner.succeeded == ["gateway-0", "gateway-1"]
    assert [line.split()[0] for line in site.told] == ["gateway-0", "gateway-1"]
    assert site.host.held == set()


@pytest.mark.anyio
async def test_a_second_restart_later_is_a_restart_of_its_own(site):
    async with supervised(site):
        await site.restart()
        await site.restart()

    assert len(site.spawner.succeeded) == 4


@pytest.mark.anyio
async def test_a_successor_that_fails_is_told_with_its_words_and_without_the_lines_of_requests(site):
    site.workspace.logs.mkdir(parents=True)
    (site.workspace.logs / "gateway-0.log").write_bytes(b"shipway: an old problem\n")
    site.spawner.fails = 2
    site.spawner.log = b'{"event": "request"}\nshipway: a new problem\n{"event": "request"}\n'
    async with supervised(site):
        with pytest.raises(UnavailableError) as caught:
            await site.restart()

    assert (
        caught.value.message == "the successor of gateway-0 failed: it ended with 2 before it served; gateway-0 goes on"
    )
    assert caught.value.hint == "it said:\n  shipway: a new problem"
    assert site.spawner.succeeded == ["gateway-0"]


@pytest.mark.anyio
async def test_where_nothing_runs_nothing_is_restarted(site):
    with pytest.raises(NotFoundError, match="nothing is running here"):
        await site.restart()

    assert not site.question().exists()


@pytest.mark.anyio
async def test_workers_that_bind_the_port_themselves_are_left_alone(site):
    async with supervised(site, sockets=0):
        with pytest.raises(UnavailableError, match="was not started by `shipway up`"):
            await site.restart()

    assert site.spawner.succeeded == []


@pytest.mark.anyio
async def test_the_sockets_are_closed_before_the_workers_are_told_to_end(site, monkeypatch):
    made: list[Seat] = []
    seen: list[bool] = []
    terminate = FakeProcess.terminate

    def note(process: FakeProcess) -> None:
        seen.append(all(one.listener.fileno() == -1 for one in made))
        terminate(process)

    monkeypatch.setattr(FakeProcess, "terminate", note)
    async with supervised(site, made=made):
        assert len(made) == 2

    assert seen == [True, True, True]


@pytest.mark.anyio
async def test_two_restarts_at_once_are_one_too_many(site):
    site.host.held |= {"up.lock", "restarting.lock"}

    with pytest.raises(ConflictError, match="another `shipway restart` is under way"):
        await site.restart()


@pytest.mark.anyio
async def test_a_restart_whose_command_was_interrupted_is_not_begun_a_second_time(site):
    site.spawner.gate = anyio.Event()
    async with supervised(site):
        with anyio.CancelScope() as interrupted:
            async with anyio.create_task_group() as group:
                group.start_soon(site.restart)
                while not (site.workspace.run / "restarted.json").exists():
                    await anyio.sleep(0.001)
                interrupted.cancel()
        with pytest.raises(ConflictError, match="a restart is under way already"):
            await site.restart()
        site.spawner.gate.set()

    assert site.spawner.succeeded in ([], ["gateway-0"], ["gateway-0", "gateway-1"])


@pytest.mark.anyio
async def test_a_supervisor_that_does_not_take_the_order_is_named_and_the_order_withdrawn(site):
    site.host.held.add("up.lock")
    site.workspace.run.mkdir(parents=True)

    with pytest.raises(UnavailableError, match="the supervisor did not take the order within 10 s"):
        await site.restart()

    assert not site.question().exists()
    assert site.host.held == {"up.lock"}


@pytest.mark.anyio
async def test_a_supervisor_that_ends_meanwhile_ends_the_wait(site):
    site.spawner.gate = anyio.Event()
    async with anyio.create_task_group() as group:
        async with supervised(site):
            failed = anyio.Event()

            async def restart() -> None:
                with pytest.raises(UnavailableError, match="the supervisor ended meanwhile"):
                    await site.restart()
                failed.set()

            group.start_soon(restart)
            while not (site.workspace.run / "restarted.json").exists():
                await anyio.sleep(0.001)
        await failed.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("order", [{"id": "old", "within_s": 5}, {"id": "old"}, {}], ids=["whole", "half", "empty"])
async def test_an_order_from_before_is_not_obeyed_by_a_new_supervisor(site, order):
    write_json(site.question(), order)
    async with supervised(site):
        await anyio.sleep(0.01)

    assert site.spawner.succeeded == []
    assert not site.question().exists()
