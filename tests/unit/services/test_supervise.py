import os
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError
from shipway.operations.supervision import ProcessSpec
from shipway.services import supervise as module
from shipway.services.application import Workspace
from shipway.services.local import Local
from shipway.services.running import read_json
from shipway.services.supervise import supervise


@dataclass
class FakeHost:
    """A lock that is refused as often as told."""

    refusals: int = 0
    asked: int = 0
    held: bool = False

    def lock(self, path: Path) -> int | None:
        self.asked += 1
        if self.asked <= self.refusals:
            return None
        self.held = True
        return 1

    def unlock(self, descriptor: int) -> None:
        self.held = False

    def program(self) -> list[str]:
        return ["shipway"]


@dataclass
class FakeSpawner:
    """Processes that end when asked to."""

    journal: list[str] = field(default_factory=list)
    failure: Exception | None = None

    async def start(self, spec: ProcessSpec) -> "FakeProcess":
        self.journal.append(f"start {spec.name}")
        if self.failure is not None and spec.name == "gateway":
            await anyio.wait_all_tasks_blocked()
            raise self.failure
        return FakeProcess(spec.name, self.journal)


class FakeProcess:
    pid = 7

    def __init__(self, name: str, journal: list[str]) -> None:
        self._name = name
        self._journal = journal
        self._ended = anyio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def terminate(self) -> None:
        self._journal.append(f"terminate {self._name}")
        self._ended.set()

    kill = terminate


def local(root: Path, host: FakeHost) -> Local:
    project = Project.model_validate({"app": "a", "routes": {"ask": {"kind": "http", "url": "http://127.0.0.1:1"}}})
    loaded = LoadedProject(root, "local", project, {})

    async def sleep(seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    return Local(loaded, Workspace(root), host, None, ManualClock(), sleep)


@pytest.mark.anyio
async def test_processes_run_until_told_to_stop_and_end_in_order(tmp_path):
    host, spawner, stop = FakeHost(), FakeSpawner(), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(supervise, local(tmp_path, host), spawner, None, stop)
        await anyio.wait_all_tasks_blocked()
        running = read_json(tmp_path / ".shipway" / "run" / "processes.json")
        stop.set()

    assert sorted(spawner.journal[:2]) == ["start control", "start gateway"]
    assert spawner.journal[2:] == ["terminate gateway", "terminate control"]
    assert running["supervisor"] == os.getpid()
    assert [(process["name"], process["pid"]) for process in running["processes"]] == [("control", 7), ("gateway", 7)]
    assert read_json(tmp_path / ".shipway" / "run" / "processes.json")["processes"] == []
    assert not host.held


@pytest.mark.anyio
async def test_a_lock_that_status_holds_for_an_instant_is_waited_for(tmp_path):
    host, stop = FakeHost(refusals=3), anyio.Event()
    stop.set()

    await supervise(local(tmp_path, host), FakeSpawner(), None, stop)

    assert host.asked == 4


@pytest.mark.anyio
async def test_a_second_supervisor_is_refused(tmp_path):
    spawner = FakeSpawner()

    with pytest.raises(ConflictError, match="already running"):
        await supervise(local(tmp_path, FakeHost(refusals=10_000)), spawner, None, anyio.Event())

    assert spawner.journal == []


@pytest.mark.anyio
async def test_an_unexpected_failure_stops_what_runs_and_gives_the_lock_back(tmp_path):
    host, spawner = FakeHost(), FakeSpawner(failure=RuntimeError("bug"))

    with pytest.raises(ExceptionGroup) as caught:
        await supervise(local(tmp_path, host), spawner, None, anyio.Event())

    assert caught.group_contains(RuntimeError, match="bug")
    assert spawner.journal[-1] == "terminate control"
    assert not host.held


@pytest.mark.anyio
async def test_a_full_disk_does_not_end_what_runs_and_the_state_is_written_later(tmp_path, monkeypatch):
    host, spawner, stop = FakeHost(), FakeSpawner(), anyio.Event()
    written: list[dict[str, object]] = []

    def full(path: Path, body: dict[str, object]) -> None:
        if len(spawner.journal) < 3:
            raise OSError(28, "No space left on device")
        written.append(body)

    monkeypatch.setattr(module, "write_json", full)
    async with anyio.create_task_group() as group:
        group.start_soon(supervise, local(tmp_path, host), spawner, None, stop)
        await anyio.wait_all_tasks_blocked()
        stop.set()

    assert spawner.journal[2:] == ["terminate gateway", "terminate control"]
    assert written[-1]["processes"] == []
