"""The one composition root: builds adapters and hands them to services.

Heavy adapters (models, indexes) are imported by the functions' callers' modules, not here, so that light commands stay
light.
"""

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shipway.adapters.sql.store import SqlStore
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject, find_root, load_project
from shipway.core.clock import SystemClock
from shipway.services.application import Application, Workspace


def load(project: Path | None) -> LoadedProject:
    """Find and load the project of a command."""
    return load_project(find_root((project or Path.cwd()).resolve()), process_environment())


def actor() -> str:
    """Return who runs this command, for the audit log."""
    try:
        return f"user:{getpass.getuser()}"
    except (KeyError, OSError):
        return "user:unknown"


@asynccontextmanager
async def opened(project: Path | None, *, as_actor: str | None = None) -> AsyncIterator[Application]:
    """Open a project's application and close it again."""
    loaded = load(project)
    workspace = Workspace(loaded.root)
    store = await SqlStore.open(workspace.state_file, create=True)
    try:
        yield Application(loaded, workspace, store, SystemClock(), as_actor or actor())
    finally:
        await store.close()
