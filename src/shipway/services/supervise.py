"""The life of the supervisor: hold the lock, keep the processes, stop them when told."""

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import anyio
from anyio.abc import TaskGroup

from shipway.core.errors import ConflictError, ShipwayError
from shipway.operations.supervision import ProcessSpec, ProcessState, Seat, Spawner, Supervisor
from shipway.services.http_processes import HttpProcesses
from shipway.services.local import Local
from shipway.services.restarting import RestartDesk
from shipway.services.running import write_json

_TICK_S = 0.25
_LOCK_ATTEMPTS = 20
_LOCK_RETRY_S = 0.02


async def supervise(
    local: Local,
    spawner: Spawner,
    http: HttpProcesses | None,
    stop: anyio.Event,
    reserve: Callable[[], Sequence[Seat]] = tuple,
) -> None:
    """Keep everything running until `stop` is set; `reserve` returns a seat for each gateway worker.

    Its sockets stay open here while workers come and go, so that no connection is lost with a worker.

    Raises:
        ConflictError: another supervisor has the lock, or the port is in use.
    """
    lock = await _lock(local)
    try:
        seats = reserve()
        supervisor = Supervisor(spawner, local.clock, _Publisher(local))
        desk = RestartDesk(local.workspace.run, supervisor, local.gateway_names() if seats else [])
        async with anyio.create_task_group() as group:
            try:
                await _keep_wanted(_Wanted(local, http, seats), supervisor, desk, group, stop)
            finally:
                desk.close()
                # Before the workers are told: what nobody will accept any more is refused at once.
                for seat in seats:
                    seat.close()
                with anyio.CancelScope(shield=True):
                    await supervisor.stop_all()
    finally:
        local.host.unlock(lock)


async def _lock(local: Local) -> int:
    # `shipway status` holds the lock for an instant to see whether it is free, so one refusal proves nothing.
    for _ in range(_LOCK_ATTEMPTS):
        lock = local.host.lock(local.lock_file)
        if lock is not None:
            return lock
        await local.sleep(_LOCK_RETRY_S)
    raise ConflictError("already running", hint="`shipway status` shows it, `shipway down` stops it")


async def _keep_wanted(
    wanted: "_Wanted", supervisor: Supervisor, desk: RestartDesk, group: TaskGroup, stop: anyio.Event
) -> None:
    await supervisor.set_wanted(wanted.always, group)
    while not stop.is_set():
        services = await wanted.services(supervisor.states())
        if services is not None:
            await supervisor.set_wanted([*wanted.always, *services], group)
        desk.look(group)
        with anyio.move_on_after(_TICK_S):
            await stop.wait()


class _Wanted:
    """What should run: always, and at this moment."""

    def __init__(self, local: Local, http: HttpProcesses | None, seats: Sequence[Seat]) -> None:
        self.always = local.specs(seats)
        self._http = http

    async def services(self, states: Iterable[ProcessState]) -> Iterable[ProcessSpec] | None:
        """Return the processes of services, None when they are not to be changed now; `states` are what runs."""
        if self._http is None:
            return None
        try:
            await self._http.check_health()
            await self._http.note_starts(states)
            return await self._http.specs()
        except ShipwayError:
            # The store may be locked or restored for a moment. What runs keeps running; the next tick asks again.
            return None


class _Publisher:
    """Writes what runs where `status` and `down` read it, when it has changed."""

    def __init__(self, local: Local) -> None:
        self._path = local.workspace.run / "processes.json"
        self._written: dict[str, object] = {}

    def __call__(self, states: list[ProcessState]) -> None:
        body = {"supervisor": os.getpid(), "processes": [asdict(state) for state in states]}
        if body == self._written:
            return
        # A full disk must not end what runs; the next tick writes it again.
        with contextlib.suppress(OSError):
            write_json(self._path, body)
            self._written = body
