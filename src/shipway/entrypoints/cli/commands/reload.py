"""`shipway reload`: another configuration without a restart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.adapters.local_process.host import LocalHost
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject, find_root, load_project
from shipway.core.errors import ConfigError, ConflictError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, warn
from shipway.entrypoints.release_parts import check_parts
from shipway.entrypoints.wiring import opened
from shipway.services.application import Workspace
from shipway.services.config_board import ConfigBoard, WorkerAnswer
from shipway.services.key_warnings import key_warnings
from shipway.services.project_check import key_problems, startup_problems
from shipway.services.reloading import ReloadCommand, Reloaded, require_gateway
from shipway.services.running import RunRecord


def reload(
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds each worker has to prepare.")] = 30.0,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let every gateway worker obey the project file as it is now, without a restart.

    The file is checked first; then every worker prepares itself beside what it serves with, and all swap between two
    requests, or none does. Requests under way end by the former configuration.
    """
    del debug
    done = anyio.run(_reload, project, timeout_s)
    emit(done, _lines(done), as_json=as_json)


async def _reload(project: Path | None, timeout_s: float) -> Reloaded:
    root = find_root((project or Path.cwd()).resolve())
    workspace = Workspace(root)
    board, record = ConfigBoard(workspace, LocalHost()), RunRecord.read(workspace)
    # Before anything is opened: a mistake is said at once, and where nothing runs nothing is made.
    loaded = await _checked(root, root)
    require_gateway(board)
    # What foreground workers obey nobody has written down; they say themselves if it is another environment.
    environment = record.environment if record is not None and board.is_supervised() else loaded.environment
    if loaded.environment != environment:
        message = f"what runs here is environment {environment!r}, not {loaded.environment!r}"
        raise ConflictError(message, hint=f"call it with APP_ENV={environment}")
    async with opened(project, loaded=loaded) as app:

        async def check(files: Path) -> LoadedProject:
            found = await _checked(root, files)
            problems = await key_problems(found, app.state.keys, now_s=app.clock.now_s())
            if problems:
                raise ConfigError(problems, hint="nothing was changed")
            for warning in await key_warnings(found, app.state.keys, now_s=app.clock.now_s()):
                warn(warning)
            return found

        async def note(revision: int, answers: Mapping[str, WorkerAnswer]) -> None:
            keys = dict.fromkeys(key for said in answers.values() for key in said.now)
            await app.audit("config.reloaded", app.environment, revision=revision, changed=list(keys))

        command = ReloadCommand(
            board,
            root,
            environment,
            app.clock,
            check,
            note,
        )
        return await command.reload(within_s=timeout_s)


async def _checked(root: Path, files: Path) -> LoadedProject:
    """Return the project when `up` would start with it."""
    loaded = load_project(root, process_environment(), files)
    problems = await startup_problems(loaded, check_parts())
    if problems:
        raise ConfigError(problems, hint="nothing was changed; `shipway config check` looks at the whole project")
    return loaded


def _lines(done: Reloaded) -> list[str]:
    count = len(done.workers)
    workers = "1 gateway worker obeys" if count == 1 else f"all {count} gateway workers obey"
    lines = [f"{workers} after {done.obeyed_s:.3f} s (revision {done.revision})"]
    lines.append(f"changed: {', '.join(done.changed)}" if done.changed else "nothing changed that a reload changes")
    waiting = (
        ("takes effect with `shipway restart`", done.at_restart),
        ("takes effect with `shipway down` and `shipway up`", done.at_start),
        ("belongs to a release, deploy one to change it", done.with_release),
    )
    return lines + [f"{when}: {', '.join(keys)}" for when, keys in waiting if keys]
