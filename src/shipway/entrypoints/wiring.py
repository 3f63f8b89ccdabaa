"""The one composition root: builds adapters and hands them to services.

Heavy adapters (models, indexes) are imported by the functions' callers' modules, not here, so that light commands stay
light.
"""

import getpass
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shipway.adapters.local_process.host import LocalHost
from shipway.adapters.local_process.log_files import LogLimits
from shipway.adapters.sql.store import SqlStore
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject, find_root, load_project
from shipway.core.clock import SystemClock
from shipway.core.errors import ConfigError, NotFoundError, ShipwayError
from shipway.services.application import Application, Installation, RunningInstallation, Workspace
from shipway.services.config_board import ConfigBoard
from shipway.services.running import RUN_RECORD_FILE, Running, RunRecord


def load(project: Path | None) -> LoadedProject:
    """Find and load the project of a command."""
    return load_project(find_root((project or Path.cwd()).resolve()), process_environment())


def load_in_force(project: Path | None) -> tuple[LoadedProject, int]:
    """Load what a process that starts now must obey, and its revision.

    While an app runs, a file that is being edited is nobody's configuration until `shipway reload` has accepted it.
    """
    root, environ = find_root((project or Path.cwd()).resolve()), process_environment()
    board = ConfigBoard(Workspace(root), LocalHost())
    revision = board.in_force()
    if revision:
        return load_project(root, environ, board.files(revision)), revision
    loaded = load_project(root, environ)
    return loaded, board.begin(root, loaded.environment)


def load_as_served(project: Path | None) -> LoadedProject:
    """Load what the running app obeys, or the project file when nothing runs; changes nothing."""
    root, environ = find_root((project or Path.cwd()).resolve()), process_environment()
    board = ConfigBoard(Workspace(root), LocalHost())
    revision = board.in_force()
    return load_project(root, environ, board.files(revision) if revision else None)


@dataclass(frozen=True, slots=True)
class Site:
    """One project on this machine, as far as operating it needs to know."""

    workspace: Workspace
    record: RunRecord

    @property
    def running(self) -> Running:
        """Return what runs."""
        return Running(self.workspace, LocalHost(), SystemClock(), self.record.drain_s)


def site(project: Path | None, warn: Callable[[str], None]) -> Site:
    """Find the project of a command that operates what runs.

    A project file that cannot be used is a warning while the app runs: what `up` recorded is enough to stop it, look at
    it and roll it back.

    Raises:
        ConfigError: the project file is wrong and nothing runs.
        NotFoundError: there is no project file, or no overlay of this name, and nothing runs.
    """
    try:
        loaded = load(project)
    except (ConfigError, NotFoundError) as error:
        found = _recorded(project)
        if found is None or not found.running.is_running():
            raise
        warn(f"{error}\n  going on with what `shipway up` recorded: environment {found.record.environment!r}")
        return found
    return _site_of(loaded)


def stored(project: Path | None, warn: Callable[[str], None]) -> Site:
    """Find the project of a command on what the store holds, keys for example; unlike for `site` nothing need run.

    The environment of a project file that cannot be used is the one that `up` recorded, else that of `APP_ENV`.

    Raises:
        ConfigError: the project file is wrong and there is no store.
        NotFoundError: there is no project file, or no overlay of this name, and no store.
    """
    try:
        loaded = load(project)
    except (ConfigError, NotFoundError) as error:
        found = _recorded(project) or _with_store(project)
        if found is None or not found.workspace.state_file.is_file():
            raise
        warn(f"{error}\n  going on with the store: environment {found.record.environment!r}")
        return found
    return _site_of(loaded)


def examined(project: Path | None) -> tuple[LoadedProject | ShipwayError, Site]:
    """Find a project whatever state its file is in; the environment is empty when nobody knows it.

    Raises:
        NotFoundError: there is no project file and nothing was ever started here.
    """
    try:
        loaded = load(project)
    except ShipwayError as error:
        found = _recorded(project)
        if found is None:
            root = find_root((project or Path.cwd()).resolve())
            found = Site(Workspace(root), RunRecord(root.name, "", 0.0))
        return error, found
    return loaded, _site_of(loaded)


def _site_of(loaded: LoadedProject) -> Site:
    settings = loaded.project
    return Site(Workspace(loaded.root), RunRecord(settings.app, loaded.environment, settings.server.drain_s))


def _recorded(project: Path | None) -> Site | None:
    start = (project or Path.cwd()).resolve()
    for workspace in map(Workspace, (start, *start.parents)):
        if (workspace.run / RUN_RECORD_FILE).is_file():
            record = RunRecord.read(workspace)
            return Site(workspace, record) if record is not None else None
    return None


def _with_store(project: Path | None) -> Site | None:
    start = (project or Path.cwd()).resolve()
    for workspace in map(Workspace, (start, *start.parents)):
        if workspace.state_file.is_file():
            environment = process_environment().get("APP_ENV", "local")
            return Site(workspace, RunRecord(workspace.root.name, environment, 0.0))
    return None


def log_limits(loaded: LoadedProject) -> LogLimits:
    """Return when a process's log is put away."""
    own = loaded.project.logging
    return LogLimits(own.max_file_bytes, own.kept_files)


def actor() -> str:
    """Return who runs this command, for the audit log."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return "user:unknown"


@asynccontextmanager
async def opened(
    project: Path | None, *, as_actor: str | None = None, loaded: LoadedProject | None = None
) -> AsyncIterator[Application]:
    """Open a project's application and close it again."""
    loaded = loaded or load(project)
    workspace = Workspace(loaded.root)
    store = await SqlStore.open(workspace.state_file, create=True)
    try:
        yield Application(loaded, workspace, store, SystemClock(), as_actor or actor())
    finally:
        await store.close()


@asynccontextmanager
async def operated(found: Site) -> AsyncIterator[Installation]:
    """Open the state of a site and close it again; the project file is not asked."""
    store = await SqlStore.open(found.workspace.state_file, create=True)
    try:
        yield RunningInstallation(found.record.environment, found.workspace, store, SystemClock(), actor())
    finally:
        await store.close()


@asynccontextmanager
async def opened_or_why(
    project: Path | None, loaded: LoadedProject | ShipwayError, where: Site
) -> AsyncIterator[Installation | ShipwayError | None]:
    """Open what a command that only looks can: the app, what runs, or why neither; None where nothing was ever kept."""
    if not where.workspace.state_file.exists():
        # Opening would make it, and who only looks must leave nothing behind.
        yield None
        return
    opening = opened(project) if isinstance(loaded, LoadedProject) else operated(where)
    async with AsyncExitStack() as stack:
        app: Installation | ShipwayError
        try:
            app = await stack.enter_async_context(opening)
        except ShipwayError as error:
            app = error
        yield app
