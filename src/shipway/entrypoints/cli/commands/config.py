"""`shipway config`: check and explain the project file."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject, find_root, flattened, load_project, load_what_is_valid
from shipway.config.project import Project
from shipway.config.yaml_source import dotted
from shipway.core.errors import ConfigError, StoreError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.release_parts import check_parts
from shipway.entrypoints.wiring import opened
from shipway.services.application import Workspace
from shipway.services.key_warnings import key_warnings
from shipway.services.project_check import key_problems, project_problems, project_warnings

group = command_group("Check and explain the project file.")


def _load(project: Path | None) -> LoadedProject:
    return load_project(_root(project), process_environment())


def _root(project: Path | None) -> Path:
    return find_root((project or Path.cwd()).resolve())


@group.command()
def check(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check the project file, the overlay of APP_ENV, and the prompts, documents, models and cases that they name.

    As many problems as can be told apart are reported in one run, with file and line: wrong keys and values, names
    that no other section has, files, cases and gates, and the schemas, functions and suites that evaluations name;
    functions are imported for that. What a file that is no YAML, a credential in clear text or a required key that is
    missing hides is seen once that is corrected. What stands in the documents is read by `shipway rag build`. A secret
    that is not set here is a warning: another environment may set it. So is a limit or a rule for a key or a tenant
    that nobody has: the key may come later.
    """
    del debug
    environ = process_environment()
    loaded, problems = load_what_is_valid(_root(project), environ)
    if loaded is not None:
        problems = list(dict.fromkeys([*problems, *anyio.run(_all_problems, loaded)]))
    if problems or loaded is None:
        raise ConfigError(problems, hint="correct these lines; `shipway config schema` describes every key")
    warnings = [*project_warnings(loaded, environ), *anyio.run(_key_warnings, loaded)]
    for warning in [] if as_json else warnings:
        warn(warning)
    lines = [f"{loaded.project.app}: the configuration of environment {loaded.environment} is valid"]
    value = {"app": loaded.project.app, "environment": loaded.environment, "valid": True, "warnings": warnings}
    emit(value, lines, as_json=as_json)


async def _all_problems(loaded: LoadedProject) -> list[str]:
    """Return what is wrong with what the project names, and with its keys where there is a store."""
    found = await project_problems(loaded, check_parts())
    if loaded.project.tenants and Workspace(loaded.root).state_file.is_file():
        # What is wrong with the store is no mistake of the project; `shipway doctor` says it.
        with suppress(StoreError):
            async with opened(loaded.root, loaded=loaded) as app:
                found += await key_problems(loaded, app.state.keys, now_s=app.clock.now_s())
    return found


async def _key_warnings(loaded: LoadedProject) -> list[str]:
    if not Workspace(loaded.root).state_file.is_file():
        return []
    with suppress(StoreError):
        async with opened(loaded.root, loaded=loaded) as app:
            return await key_warnings(loaded, app.state.keys, now_s=app.clock.now_s())
    return []


@group.command()
def show(
    key: Annotated[str, typer.Argument(help="Only keys that begin with this, such as rates.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show every value and where it came from."""
    del debug
    loaded = _load(project)
    rows = [
        {"key": dotted(path), "value": value, "origin": str(loaded.origin(path))}
        for path, value in flattened(loaded.project)
        if dotted(path).startswith(key)
    ]
    shown = [(row["key"], json.dumps(row["value"], ensure_ascii=False), row["origin"]) for row in rows]
    emit({"environment": loaded.environment, "values": rows}, table(("key", "value", "from"), shown), as_json=as_json)


@group.command()
def schema(*, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Print the JSON Schema of shipway.yaml, for editors."""
    del as_json, debug  # it is JSON either way
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "shipway.yaml"}
    emit(document | Project.model_json_schema(), (), as_json=True)
