"""The collaborators of an evaluation."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from shipway.adapters.httptools_client.client import HttptoolsEngineClient
from shipway.adapters.local_process.host import LocalHost
from shipway.config.environment import process_environment
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.runtime_factory import LocalRuntimeFactory
from shipway.services.application import Application
from shipway.services.engine_caller import EngineCaller
from shipway.services.evaluation_targets import ReleaseTargets
from shipway.services.running import Running
from shipway.services.runtimes import ReleaseRuntimes
from shipway.services.targets.choosing import TargetParts


@asynccontextmanager
async def evaluation_targets(
    app: Application, tell: Callable[[str], None] = lambda _line: None
) -> AsyncIterator[ReleaseTargets]:
    """Open what evaluations ask, and close its connections; `tell` gets a line where somebody waits for long."""
    factory, client = LocalRuntimeFactory(app), HttptoolsEngineClient()
    try:
        caller = EngineCaller(client, app.clock.monotonic_s)
        running = Running(app.workspace, LocalHost(), app.clock, app.project.server.drain_s)
        runtimes = ReleaseRuntimes(app, factory)
        yield ReleaseTargets(
            app, runtimes, corpora(), caller, tell, running.is_running, lambda: running.recorded().get("processes", [])
        )
    finally:
        await client.close()
        await factory.close()


@asynccontextmanager
async def target_parts(app: Application) -> AsyncIterator[TargetParts]:
    """Open what targets that are no releases are made of, and close its connections."""
    client = HttptoolsEngineClient()
    try:
        caller = EngineCaller(client, app.clock.monotonic_s)
        yield TargetParts(caller, LocalRuntimeFactory(app), process_environment(), app.project.evals.case_timeout_s)
    finally:
        await client.close()


def cache_file(app: Application) -> Path:
    """Return where answers are kept that may be given again."""
    return app.workspace.home / "cache" / "responses.db"
