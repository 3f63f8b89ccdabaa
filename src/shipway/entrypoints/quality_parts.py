"""The control process's part in quality: its jobs, made for the configuration that is in force.

Judges, datasets and statistics take forty megabytes; they are loaded when there is something to judge or to ask.
"""

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import anyio
import anyio.to_thread

from shipway.adapters.local_process.host import LocalHost
from shipway.config.environment import process_environment
from shipway.config.loading import load_project
from shipway.core.errors import ShipwayError
from shipway.entrypoints.endpoint_parts import endpoint_caller
from shipway.evals.ports import JsonCaller
from shipway.services.application import Application
from shipway.services.config_board import ConfigBoard
from shipway.services.quality.watch import (
    Job,
    Note,
    PairsWork,
    QualityWatch,
    WatchParts,
    Work,
    has_answers,
    has_goldens,
    has_rules,
)

_JOBS = "shipway.services.quality.jobs"
_JUDGES = "shipway.entrypoints.judge_parts"
_PROPOSALS = "shipway.services.proposals.watching"


async def watch_quality(app: Application, stop: anyio.Event, note: Note) -> None:
    """Observe what users get until `stop`."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    async with endpoint_caller() as caller:
        await QualityWatch(WatchParts(followed(app, note), note, holder), jobs(caller, note)).run(stop)


def jobs(caller: JsonCaller, note: Note) -> tuple[Job, ...]:
    """Return the jobs of a control process."""
    pairs = PairsWork()

    async def judging() -> Work:
        parts = await anyio.to_thread.run_sync(import_module, _JUDGES)
        return await _made("JudgingWork", parts.LocalJudgeParts, note)

    return (
        Job("pairs", 2.0, pairs.is_wanted, pairs.made),
        Job("judging", 5.0, has_answers, judging),
        Job("goldens", 1.0, has_goldens, lambda: _made("GoldensWork", caller, process_environment())),
        Job("rules", 15.0, has_rules, lambda: _made("RulesWork", note)),
        Job("proposals", 30.0, _keeps_texts, _proposing),
    )


async def _keeps_texts(app: Application) -> bool:
    project = app.project
    return bool(project.quality.sample or project.shadow.keep_answers or project.logging.question == "mask")


async def _proposing() -> Work:
    made: Work = (await anyio.to_thread.run_sync(import_module, _PROPOSALS)).ProposalsWork()
    return made


async def _made(name: str, *parts: Any) -> Work:
    # In a thread: the loop that leads rollouts must not wait a second for a library.
    made: Work = getattr(await anyio.to_thread.run_sync(import_module, _JOBS), name)(*parts)
    return made


def followed(app: Application, note: Note) -> Callable[[], Application]:
    """Return what gives the application as `shipway reload` last changed it; the same one while nothing changes."""
    board = ConfigBoard(app.workspace, LocalHost())
    current, seen = app, board.in_force()

    def latest() -> Application:
        nonlocal current, seen
        revision = board.in_force()
        if revision and revision != seen:
            seen = revision
            try:
                loaded = load_project(app.loaded.root, process_environment(), board.files(revision))
            except ShipwayError as error:
                note("config_refused", revision=revision, error=error.message)
            else:
                current = replace(app, loaded=loaded)
        return current

    return latest
