"""The project's own service while a stage asks it: what runs already, else one for the stage, started as by `up`.

Stages of one checkout that run at the same time share it; who started it waits for the others and stops it. It ends
with the stage however that ends: by itself, by timeout, by Ctrl-C, by SIGKILL to the pipeline.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from shipway.adapters.http_probe.probe import HttpProbe
from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_stage.keeper import GroupKeeper
from shipway.config.project import Project
from shipway.core.errors import ConfigError, ShipwayError, UsageError
from shipway.core.ids import ulid
from shipway.entrypoints.release_parts import check_parts
from shipway.pipeline.ports import StageContext
from shipway.pipeline.tail import OutputTail
from shipway.services.application import Application
from shipway.services.local import EMBEDDED_ENGINES, Local, behind
from shipway.services.project_check import startup_problems
from shipway.services.rollbacks import clear_left_over
from shipway.services.running import Endpoints

_START_TIMEOUT_S = 120.0
_POLL_S = 0.1
_OK = 200


@asynccontextmanager
async def served(app: Application, context: StageContext, *, by_gateway: bool = False) -> AsyncIterator[None]:
    """Let what releases answer with be there, and the gateway for a stage that asks `by_gateway`.

    Nothing is started for a project that asks engines elsewhere alone.

    Raises:
        ConfigError: the project's service cannot start: every problem, a line each.
        UnavailableError: it does not get ready; the message ends with what it logged.
        UsageError: nothing runs, and a gateway that was started would have nothing to serve.
    """
    if not by_gateway and not answers_here(app.project):
        yield
        return
    async with _Service(app, context.output, by_gateway=by_gateway).asked():
        yield


def answers_here(project: Project) -> bool:
    """Tell whether processes of this machine answer: an embedded engine, or a service of the project's own."""
    engines = any(entry.engine in EMBEDDED_ENGINES for entry in project.models.values())
    return engines or any(route.kind == "http" for route in project.routes.values())


class _Service:
    """The service of one project, as one stage asks it."""

    def __init__(self, app: Application, output: OutputTail, *, by_gateway: bool) -> None:
        self._app = app
        self._output = output
        self._by_gateway = by_gateway
        self._keeper: GroupKeeper | None = None
        self._supervisor = 0
        self._host = LocalHost()
        self._folder = app.workspace.run / "stages"

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[None]:
        """Find or start it, and stop it afterwards if it was started here."""
        # Before its turn: who runs it for somebody else already does not stop it meanwhile.
        seat, lock = await self._seated()
        try:
            async with self._turn():
                mine = not await self._answers() and await self._start()
        except BaseException:
            self._leave(seat, lock)
            raise
        is_cancelled = True
        try:
            yield
            is_cancelled = False
        except Exception:
            is_cancelled = False
            raise
        finally:
            self._leave(seat, lock)
            if mine:
                await self._end(at_once=is_cancelled)

    async def _end(self, *, at_once: bool) -> None:
        """Stop what was started here: who is cancelled waits for nobody."""
        turn = None
        try:
            if not at_once:
                turn = await self._last_turn()
        finally:
            try:
                with anyio.CancelScope(shield=True):
                    await self._stop()
            finally:
                if turn is not None:
                    self._host.unlock(turn)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Let nobody else find, start or stop it meanwhile."""
        lock = await self._taken()
        try:
            yield
        finally:
            self._host.unlock(lock)

    async def _taken(self) -> int:
        return await self._locked(self._folder / "turn.lock")

    async def _locked(self, path: Path) -> int:
        while True:
            lock = self._host.lock(path)
            if lock is not None:
                return lock
            await anyio.sleep(_POLL_S)

    async def _last_turn(self) -> int:
        """Wait until no other stage asks it, and keep others from beginning to."""
        while True:
            turn = await self._taken()
            # Those of processes that were killed are there and not locked.
            if not any(map(self._host.is_locked, self._folder.glob("*.seat"))):
                return turn
            self._host.unlock(turn)
            await anyio.sleep(_POLL_S)

    async def _seated(self) -> tuple[Path, int]:
        seat = self._folder / f"{ulid(self._app.clock.now_s())}.seat"
        return seat, await self._locked(seat)

    def _leave(self, seat: Path, lock: int) -> None:
        with suppress(OSError):
            seat.unlink()
        self._host.unlock(lock)

    async def _answers(self) -> bool:
        """Tell whether somebody serves it: what `up` started, or its processes one by one."""
        local = self._local(self._host)
        found = Endpoints.read(self._app.workspace)
        if local.running.is_running():
            self._say(f"asks the service that runs here{f' at {found.gateway}' if found else ''}")
            return True
        if found is None:
            return False
        for url in (found.gateway, *(url.removesuffix("/v1") for url in found.engines.values())):
            told = await local.probe.status(f"{url}/health")
            if told is None or told[0] != _OK:
                return False
        self._say(f"asks the service that answers at {found.gateway}")
        return True

    async def _start(self) -> bool:
        app = self._app
        if self._by_gateway and not (await app.state.snapshots.read(app.environment)).routes:
            raise UsageError(
                "nothing runs here, and no release is deployed in this store that a gateway could serve",
                hint="run the stage where the app serves, or give it the url of a gateway; a stage `smoke` with"
                " `release: run` asks the release of the run without a gateway",
            )
        self._say("no service of the project answers here: it is started for this stage")
        problems = await startup_problems(app.loaded, check_parts())
        if problems:
            raise ConfigError(problems, hint="nothing was started; `shipway config check` looks at the whole project")
        await clear_left_over(app)
        self._keeper = keeper = GroupKeeper()
        self._host = LocalHost(keeper.variables, self._begun)
        workers, since_s = app.project.server.workers, app.clock.now_s()
        try:
            found = await self._local(self._host).up(
                timeout_s=_START_TIMEOUT_S, progress=self._say, lagging=lambda: behind(app, workers, since_s=since_s)
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._let_go(keeper)
            raise
        self._say(f"asks the service of this stage at {found.gateway}")
        return True

    def _begun(self, pid: int) -> None:
        self._supervisor = pid
        if self._keeper is not None:
            self._keeper.begun(pid)

    async def _stop(self) -> None:
        """Stop it as `down` does, requests in flight first; what is left then is ended by the keeper."""
        try:
            await self._local(self._host).running.down()
        except ShipwayError as error:
            self._say(f"the service of this stage was ended: {error.message}")
        finally:
            if self._keeper is not None:
                await self._let_go(self._keeper)
        self._say("the service of this stage has been stopped")

    async def _let_go(self, keeper: GroupKeeper) -> None:
        self._keeper = None
        # Not `close`: whatever did not end as it was asked to is ended now.
        await anyio.to_thread.run_sync(keeper.abandon)
        while self._supervisor:
            if self._host.exit_code(self._supervisor) is not None:
                return
            await anyio.sleep(_POLL_S)

    def _local(self, host: LocalHost) -> Local:
        return Local(self._app.loaded, self._app.workspace, host, HttpProbe(), self._app.clock)

    def _say(self, line: str) -> None:
        self._output.feed(f"{line}\n".encode())
