"""`shipway config`: check and explain the project file."""

import json
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject, find_root, flattened, load_project
from shipway.config.project import Project
from shipway.config.yaml_source import dotted
from shipway.core.errors import ConfigError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.release_parts import check_parts
from shipway.services.project_check import project_problems

group = command_group("Check and explain the project file.")


def _load(project: Path | None) -> LoadedProject:
    return load_project(find_root((project or Path.cwd()).resolve()), process_environment())


@group.command()
def check(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check the project file, the overlay of APP_ENV, and the prompts, documents, models and cases that they name.

    Every problem is reported at once, with its file and line.
    """
    del debug
    loaded = _load(project)
    problems = anyio.run(project_problems, loaded, check_parts())
    if problems:
        raise ConfigError(problems)
    lines = [f"{loaded.project.app}: the configuration of environment {loaded.environment} is valid"]
    emit({"app": loaded.project.app, "environment": loaded.environment, "valid": True}, lines, as_json=as_json)


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
