"""The options that every command has."""

from pathlib import Path
from typing import Annotated

import typer

ProjectOption = Annotated[
    Path | None,
    typer.Option("--project", "-p", help="The project's folder; by default the nearest one with a shipway.yaml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an unexpected error happened.")]


def command_group(help_text: str) -> typer.Typer:
    """Return a group of commands with the house's settings."""
    return typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, help=help_text)
