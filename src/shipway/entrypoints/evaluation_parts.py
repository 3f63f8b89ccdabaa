"""The collaborators of an evaluation."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shipway.adapters.http_service.poster import HttpPoster
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.runtime_factory import LocalRuntimeFactory
from shipway.services.application import Application
from shipway.services.evaluation_targets import ReleaseTargets
from shipway.services.runtimes import ReleaseRuntimes


@asynccontextmanager
async def evaluation_targets(
    app: Application, tell: Callable[[str], None] = lambda _line: None
) -> AsyncIterator[ReleaseTargets]:
    """Open what evaluations ask, and close its connections; `tell` gets a line where somebody waits for long."""
    factory = LocalRuntimeFactory(app)
    try:
        yield ReleaseTargets(
            app, ReleaseRuntimes(app, factory), corpora(), HttpPoster(app.project.evals.case_timeout_s), tell
        )
    finally:
        await factory.close()
