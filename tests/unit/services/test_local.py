import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from shipway.adapters.memory.store import MemoryStore
from shipway.config.loading import LoadedProject
from shipway.config.project import Project
from shipway.core.clock import ManualClock
from shipway.core.errors import ConflictError, NotFoundError, StoreError, UnavailableError
from shipway.core.ids import ReleaseId, RouteName
from shipway.core.ports import WorkerState
from shipway.core.snapshot import RouteTraffic, Snapshot
from shipway.services.application import RunningInstallation, Workspace
from shipway.services.load_failures import LoadFailures
from shipway.services.local import Local, behind
from shipway.services.running import Endpoints, RunRecord, read_json, require_endpoints, write_json

SUPERVISOR = 4242


@dataclass
class FakeHost:
    """A machine: which locks are held, which ports are taken, what became of the supervisor."""

    offered: list[int] = field(default_factory=lambda: list(range(5001, 5100)))
    in_use: set[int] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    started: list[list[str]] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    on_start: Callable[[], None] = lambda: None
    code: int | None = None
    obeys: bool = True
    _paths: dict[int, str] = field(default_factory=dict)

    def free_port(self, host: str, preferred: int = 0) -> int:
        return preferred if preferred and preferred not in self.in_use else self.offered.pop(0)

    def require_port(self, host: str, port: int) -> int:
        if port in self.in_use:
            raise ConflictError(f"port {port} on {host} is in use by another program")
        return port

    def lock(self, path: Path) -> int | None:
        if path.name in self.held:
            return None
        self.held.add(path.name)
        self._paths[len(self._paths)] = path.name
        return len(self._paths) - 1

    def is_locked(self, path: Path) -> bool:
        return path.name in self.held

    def unlock(self, descriptor: int) -> None:
        self.held.discard(self._paths[descriptor])

    def start_detached(self, arguments: list[str], log_file: Path, cwd: Path) -> int:
        self.started.append(arguments)
        self.held.add("up.lock")
        self.on_start()
        return SUPERVISOR

    def exit_code(self, pid: int) -> int | None:
        return self.code

    def program(self) -> list[str]:
        return ["shipway"]

    def terminate(self, pid: int) -> None:
        self.signals.append(f"terminate {pid}")
        if self.obeys:
            self._end(0)

    def kill(self, pid: int) -> None:
        self.signals.append(f"kill {pid}")
        self._end(-9)

    def _end(self, code: int) -> None:
        self.code = code
        self.held.discard("up.lock")


@dataclass
class FakeProbe:
    """Processes that get ready at the n-th question; the clock moves with every question."""

    clock: ManualClock
    ready_after: dict[str, int] = field(default_factory=dict)
    never: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    on_ask: Callable[[str], None] = lambda url: None

    async def status(self, url: str) -> tuple[int, str] | None:
        self.asked.append(url)
        self.clock.advance(0.1)
        self.on_ask(url)
        if url in self.never:
            return 503, "loading"
        return (200, "ok") if self.asked.count(url) > self.ready_after.get(url, 0) else None


class Machine:
    def __init__(self, root: Path, **settings: Any) -> None:
        project = {
            "app": "shop",
            "models": {"small": {"engine": "echo", "model": "echo"}},
            "routes": {"ask": {"kind": "chat", "model": "small"}},
        }
        self.clock = ManualClock()
        self.host = FakeHost()
        self.probe = FakeProbe(self.clock)
        self.workspace = Workspace(root)
        loaded = LoadedProject(root, "local", Project.model_validate(project | settings), {})
        self.local = Local(loaded, self.workspace, self.host, self.probe, self.clock, self.sleep)
        self.said: list[str] = []
        self.lagging: list[list[str]] = []

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await anyio.lowlevel.checkpoint()

    async def up(self) -> Endpoints:
        return await self.local.up(timeout_s=10, progress=self.said.append, lagging=self.lag)

    async def lag(self) -> list[str]:
        return self.lagging.pop(0) if self.lagging else []

    def processes(self, **restarts: int) -> None:
        rows = [{"name": name.replace("_", "-"), "restarts": n, "pid": 7} for name, n in restarts.items()]
        write_json(self.workspace.run / "processes.json", {"supervisor": SUPERVISOR, "processes": rows})

    def log(self, name: str, text: str) -> None:
        self.workspace.logs.mkdir(parents=True, exist_ok=True)
        (self.workspace.logs / f"{name}.log").write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.anyio
async def test_up_waits_for_every_process_and_says_where_they_listen(machine):
    machine.probe.ready_after = {"http://127.0.0.1:5003/health": 3}

    endpoints = await machine.up()

    assert endpoints == Endpoints(
        "http://127.0.0.1:5001", "http://127.0.0.1:5002", {"small": "http://127.0.0.1:5003/v1"}
    )
    assert machine.said == ["gateway is ready", "control is ready", "engine-small is ready"]
    assert Endpoints.read(machine.workspace) == endpoints
    assert machine.host.started == [["supervise", "--project", str(machine.workspace.root)]]
    assert machine.host.held == {"up.lock"}


@pytest.mark.anyio
async def test_a_second_up_says_where_the_first_one_is(machine):
    await machine.up()

    with pytest.raises(ConflictError, match=r"already running at http://127\.0\.0\.1:5001\n  `shipway status`"):
        await machine.up()

    assert len(machine.host.started) == 1
    assert machine.host.signals == []


@pytest.mark.anyio
async def test_an_up_during_another_up_is_refused(machine):
    machine.host.held.add("starting.lock")

    with pytest.raises(ConflictError, match="another `shipway up` is starting this project"):
        await machine.up()

    assert machine.host.started == []


@pytest.mark.anyio
async def test_a_configured_port_that_is_in_use_starts_nothing(tmp_path):
    machine = Machine(tmp_path, server={"port": 8080})
    machine.host.in_use.add(8080)

    with pytest.raises(ConflictError, match=r"port 8080 on 127\.0\.0\.1 is in use"):
        await machine.up()

    assert machine.host.started == []
    assert machine.host.held == set()


@pytest.mark.anyio
async def test_the_ports_of_the_last_up_are_kept_unless_they_are_taken(machine):
    await machine.up()
    machine.processes()
    await machine.local.running.down()
    machine.host.in_use.add(5002)
    machine.host.code = None

    endpoints = await machine.up()

    assert endpoints == Endpoints(
        "http://127.0.0.1:5001", "http://127.0.0.1:5004", {"small": "http://127.0.0.1:5003/v1"}
    )


@pytest.mark.anyio
async def test_no_two_processes_get_the_same_port(tmp_path):
    machine = Machine(tmp_path, server={"port": 5002})
    write_json(machine.workspace.run / "endpoints.json", {"gateway": "http://h:1", "control": "http://h:5002"})
    machine.host.offered = [5002, 5003, 5003, 5004]

    endpoints = await machine.up()

    assert endpoints == Endpoints(
        "http://127.0.0.1:5002", "http://127.0.0.1:5003", {"small": "http://127.0.0.1:5004/v1"}
    )


@pytest.mark.anyio
async def test_a_process_that_is_not_ready_in_time_is_named_with_its_log_and_nothing_stays_behind(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    lines = "".join(f"line {number}\n" for number in range(40))
    machine.host.on_start = lambda: machine.log("engine-small", lines)

    with pytest.raises(UnavailableError, match=r"engine-small did not get ready within 10 s") as caught:
        await machine.up()

    assert str(caught.value).endswith("\n  line 38\n  line 39")
    assert "line 27" not in str(caught.value)
    assert machine.host.signals == [f"terminate {SUPERVISOR}"]
    assert machine.host.held == set()


@pytest.mark.anyio
async def test_a_process_that_ends_as_soon_as_it_starts_is_not_waited_for(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    machine.host.on_start = lambda: machine.log("engine-small", "model file is missing\n")
    machine.probe.on_ask = lambda url: machine.processes(engine_small=2, gateway=0)

    with pytest.raises(
        UnavailableError, match=r"engine-small ends as soon as it starts; .*\n.*\n  model file is missing"
    ):
        await machine.up()

    assert machine.clock.monotonic_s() < 1
    assert machine.host.held == set()


@pytest.mark.anyio
async def test_a_supervisor_that_ends_at_once_is_reported_with_its_log(machine):
    machine.probe.never = {"http://127.0.0.1:5001/health"}

    def end() -> None:
        machine.log("supervisor", "Traceback\nImportError: no module\n")
        machine.host.code = 1
        machine.host.held.discard("up.lock")

    machine.host.on_start = end

    with pytest.raises(
        UnavailableError,
        match=r"the supervisor ended with 1 while it started; stopped again: supervisor\n(.*\n)*  ImportError",
    ):
        await machine.up()

    assert machine.clock.monotonic_s() < 1


@pytest.mark.anyio
async def test_ctrl_c_during_the_start_leaves_nothing_behind(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    with anyio.CancelScope() as pressed:
        machine.probe.on_ask = lambda url: pressed.cancel() if len(machine.probe.asked) > 6 else None
        await machine.up()

    assert pressed.cancelled_caught
    assert machine.host.signals == [f"terminate {SUPERVISOR}"]
    assert machine.host.held == set()


@pytest.mark.anyio
async def test_a_supervisor_that_does_not_obey_is_killed_after_the_drain_time(machine):
    machine.processes()
    machine.host.held.add("up.lock")
    machine.host.obeys = False

    assert await machine.local.running.down() is True

    assert machine.host.signals == [f"terminate {SUPERVISOR}", f"kill {SUPERVISOR}"]
    assert machine.clock.monotonic_s() == pytest.approx(90, abs=0.3)


@pytest.mark.anyio
async def test_down_says_whether_anything_ran(machine):
    assert await machine.local.running.down() is False
    await machine.up()
    machine.processes()

    assert await machine.local.running.down() is True
    assert machine.host.signals == [f"terminate {SUPERVISOR}"]
    assert not machine.local.running.is_running()


@pytest.mark.anyio
async def test_down_signals_nobody_before_the_supervisor_has_said_who_it_is(machine):
    machine.host.held.add("up.lock")

    with pytest.raises(UnavailableError, match="the supervisor is still starting"):
        await machine.local.running.down()

    assert machine.host.signals == []


@pytest.mark.anyio
async def test_status_shows_no_processes_of_a_supervisor_that_is_gone(machine):
    await machine.up()
    machine.processes(gateway=0)

    assert [process["name"] for process in machine.local.running.status().processes] == ["gateway"]

    await machine.local.running.down()

    status = machine.local.running.status()
    assert (status.running, status.processes) == (False, [])
    assert status.endpoints is not None


def test_control_is_stopped_after_the_gateway_whose_records_it_collects_and_the_engines_last(machine):
    order = {spec.name: spec.stop_order for spec in machine.local.specs()}

    assert order["gateway"] < order["control"] < order["engine-small"]


def test_the_gateway_gets_its_drain_time_before_it_is_killed(tmp_path):
    specs = {spec.name: spec for spec in Machine(tmp_path, server={"drain_s": 120}).local.specs()}

    assert specs["gateway"].stop_grace_s > 120


def test_a_remote_engine_is_not_started(tmp_path):
    remote = {"big": {"engine": "openai", "model": "m", "base_url": "https://engine.example/v1"}}
    machine = Machine(tmp_path, models=remote, routes={"ask": {"kind": "chat", "model": "big"}})

    assert [spec.name for spec in machine.local.specs()] == ["control", "gateway"]


def test_addresses_are_asked_for_only_after_an_up(machine):
    with pytest.raises(NotFoundError, match="nothing is running here\n  start it with `shipway up`"):
        require_endpoints(machine.workspace)


@pytest.mark.parametrize("content", [b'{"gateway": "http:', b"\xff", b"[]", b'{"door": 1}'])
def test_addresses_that_another_version_or_a_crash_left_are_ignored(machine, content):
    machine.workspace.run.mkdir(parents=True)
    (machine.workspace.run / "endpoints.json").write_bytes(content)

    assert Endpoints.read(machine.workspace) is None


def test_only_the_end_of_a_long_log_is_read(machine):
    machine.log("gateway", "x" * 200_000 + "\nlast\n")

    assert machine.local.log_tail("gateway").endswith("\n  last")
    assert len(machine.local.log_tail("gateway")) < 70_000
    assert machine.local.log_tail("control") == "  (no log yet)"


@pytest.mark.anyio
async def test_a_failed_up_shows_only_what_was_logged_since_and_says_what_it_stopped(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    machine.log("engine-small", "line of yesterday\n")
    machine.probe.on_ask = lambda url: machine.processes(engine_small=0, gateway=0)
    log = machine.workspace.logs / "engine-small.log"
    machine.host.on_start = lambda: log.write_text(log.read_text() + "line of today\n")

    with pytest.raises(UnavailableError, match="stopped again: engine-small, gateway, supervisor") as caught:
        await machine.up()

    assert "line of today" in str(caught.value)
    assert "yesterday" not in str(caught.value)


@pytest.mark.anyio
async def test_a_process_that_logged_nothing_this_time_does_not_lend_its_old_lines(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    machine.log("engine-small", "line of yesterday\n")

    with pytest.raises(UnavailableError) as caught:
        await machine.up()

    assert str(caught.value).endswith("  (nothing logged)")


@pytest.mark.anyio
async def test_a_log_that_was_begun_anew_is_shown_from_its_beginning(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    machine.log("engine-small", "line of yesterday\n" * 10)
    machine.host.on_start = lambda: machine.log("engine-small", "line of today\n")

    with pytest.raises(UnavailableError) as caught:
        await machine.up()

    assert str(caught.value).endswith("\n  line of today")


@pytest.mark.anyio
async def test_ctrl_c_during_the_start_says_what_was_stopped(machine):
    machine.probe.never = {"http://127.0.0.1:5003/health"}
    machine.host.on_start = lambda: machine.processes(control=0)
    with anyio.CancelScope() as pressed:
        machine.probe.on_ask = lambda url: pressed.cancel() if len(machine.probe.asked) > 6 else None
        await machine.up()

    assert machine.said[-1] == "stopped again: control, supervisor"


@pytest.mark.anyio
async def test_up_is_not_ready_before_every_worker_has_the_deployed_release(machine):
    machine.lagging = [["gateway-0", "gateway-1"], ["gateway-1"], []]

    await machine.up()

    assert machine.said == ["engine-small is ready", "control is ready", "gateway is ready"]
    assert machine.lagging == []


@pytest.mark.anyio
async def test_a_worker_that_never_loads_the_release_is_named(machine):
    machine.lagging = [["gateway-0 cannot load rel_1: no such corpus"]] * 1000

    with pytest.raises(UnavailableError, match="gateway did not get ready within 10 s: gateway-0 cannot load rel_1"):
        await machine.up()


@pytest.mark.anyio
async def test_a_worker_is_behind_until_it_reports_the_snapshot_after_this_start():
    state = MemoryStore()
    app = RunningInstallation("local", Workspace(Path("x")), state, ManualClock(), "user:test")

    async def report(version: int, at_s: float, worker: str = "gateway-0") -> None:
        await state.snapshots.report(WorkerState(worker, "local", version, 0, at_s))

    assert await behind(app, 2, since_s=100.0) == []
    routes = (RouteTraffic(RouteName("ask"), ReleaseId("rel_1")),)
    await state.snapshots.write(Snapshot(environment="local", routes=routes), expected_version=0)
    await report(1, 99.0)
    await report(0, 101.0, "gateway-1")
    waiting = [f"gateway-{number} has not loaded what is deployed" for number in range(2)]
    assert await behind(app, 2, since_s=100.0) == waiting
    failures = LoadFailures(state.documents, "local")
    await failures.note(ReleaseId("rel_1"), "gateway-1", "no such corpus", at_s=101.0)
    assert await behind(app, 2, since_s=100.0) == ["gateway-1 cannot load rel_1: no such corpus"]
    await report(1, 102.0)
    await report(1, 102.0, "gateway-1")
    assert await behind(app, 2, since_s=100.0) == []


@pytest.mark.anyio
async def test_up_records_what_operating_it_needs_and_nothing_else(tmp_path):
    machine = Machine(tmp_path, server={"drain_s": 7})

    await machine.up()

    assert RunRecord.read(machine.workspace) == RunRecord("shop", "local", 7.0)
    assert set(read_json(machine.workspace.run / "up.json")) == {"app", "environment", "drain_s"}


@pytest.mark.anyio
async def test_a_disk_that_is_full_before_the_start_is_named_and_nothing_is_started(machine, monkeypatch):
    def full(path: Path, *_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)

    with pytest.raises(StoreError, match=r"run cannot be written: the disk is full \(.* MB free at .*\n  make room"):
        await machine.up()

    assert machine.host.started == []
    assert machine.host.held == set()


@pytest.mark.anyio
async def test_one_of_several_gateway_workers_that_ends_as_it_starts_is_not_waited_for(tmp_path):
    machine = Machine(tmp_path, server={"workers": 2})
    machine.probe.never = {"http://127.0.0.1:5001/health"}
    machine.probe.on_ask = lambda url: machine.processes(gateway_0=0, gateway_1=2)

    with pytest.raises(UnavailableError, match="gateway-1 ends as soon as it starts"):
        await machine.up()
