"""Which of a project's own processes a fault is made on, or why it cannot be made here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shipway.chaos.plan import Experiment, Kind
from shipway.core.errors import ForbiddenError
from shipway.services.chaos.faults import (
    EngineFault,
    FullDisk,
    KilledProcess,
    LockedStore,
    Process,
    Redirect,
    StoppedProcesses,
)
from shipway.services.chaos.ports import Fault, Lock, Processes, Proxy
from shipway.services.load.targets import is_loopback

_REDIS_PORT = 6379
_GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Machine:
    """What faults are made with."""

    processes: Processes
    proxy: Callable[[str], Proxy]
    lock: Callable[[Path], Lock]
    redirect: Redirect


@dataclass(frozen=True, slots=True)
class Grounds:
    """What runs of a project: `running` as the supervisor wrote it down, `named` the pids that the plan names.

    `alias` is the model of the route that is asked, `redis_url` empty without a Redis.
    """

    alias: str
    engines: Mapping[str, str]
    running: Sequence[Mapping[str, Any]]
    state_file: Path
    redis_url: str = field(default="", repr=False)
    named: Mapping[str, int] = field(default_factory=dict)


def chosen(experiment: Experiment, grounds: Grounds, machine: Machine) -> Fault | str:
    """Return the fault of an experiment, or why it cannot be made here.

    Raises:
        ForbiddenError: a named process is not what the project uses.
    """
    name = experiment.kind.value
    match experiment.kind:
        case Kind.ENGINE_ERRORS | Kind.ENGINE_SLOW:
            return _engine(experiment, grounds, machine)
        case Kind.STORE_LOCKED:
            return LockedStore(name, machine.lock(grounds.state_file))
        case Kind.REDIS_LOST:
            return _redis(name, grounds, machine)
        case Kind.POSTGRES_LOST:
            return "the store is a file (SQLite), not Postgres; store-locked is its fault"
        case Kind.ENGINE_STUCK | Kind.WORKER_KILLED | Kind.DISK_FULL:
            return _process(experiment.kind, grounds, machine)


def _process(kind: Kind, grounds: Grounds, machine: Machine) -> Fault | str:
    if kind is Kind.ENGINE_STUCK:
        engine = _of(grounds, machine, f"engine-{grounds.alias}")
        return StoppedProcesses(kind.value, machine.processes, engine) if engine else _foreign(grounds)
    workers = _of(grounds, machine, _GATEWAY)
    if not workers:
        return "no gateway worker runs"
    if kind is Kind.WORKER_KILLED:
        return KilledProcess(kind.value, machine.processes, workers[0])
    return FullDisk(kind.value, machine.processes, workers)


def _engine(experiment: Experiment, grounds: Grounds, machine: Machine) -> Fault | str:
    address = grounds.engines.get(grounds.alias)
    if address is None:
        return _foreign(grounds)
    fails = experiment.kind is Kind.ENGINE_ERRORS
    return EngineFault(
        experiment.kind.value,
        grounds.alias,
        grounds.engines,
        machine.proxy(address),
        machine.redirect,
        fails,
        0.0 if fails else experiment.delay_s,
        experiment.share,
    )


def _foreign(grounds: Grounds) -> str:
    return f"`shipway up` does not run the engine of {grounds.alias!r}, and what it does not run is not touched"


def _redis(name: str, grounds: Grounds, machine: Machine) -> Fault | str:
    if not grounds.redis_url:
        return "the project has no redis"
    parts = urlsplit(grounds.redis_url)
    if not is_loopback(parts.hostname or ""):
        return f"redis is at {parts.hostname}, and only processes of this machine are touched"
    pid = grounds.named.get("redis")
    if pid is None:
        return "`shipway up` does not run redis; name its process: `processes: { redis: PID }`"
    machine.processes.require_listener(pid, parts.port or _REDIS_PORT)
    started = machine.processes.started(pid)
    if not started:
        raise ForbiddenError(f"there is no process {pid}")
    return StoppedProcesses(name, machine.processes, [(pid, started)])


def _of(grounds: Grounds, machine: Machine, name: str) -> list[Process]:
    """Return the processes of a name, numbered ones too."""
    pids = [
        int(item["pid"])
        for item in grounds.running
        if item.get("pid") and (item["name"] == name or str(item["name"]).rpartition("-")[0] == name == _GATEWAY)
    ]
    return [(pid, started) for pid in pids if (started := machine.processes.started(pid))]
