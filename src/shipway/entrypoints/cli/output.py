"""How commands print: one JSON document with --json, lines for people otherwise."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import typer


def emit(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a result: `value` as JSON, or `lines`.

    Who has read enough and closed the pipe, as `head` does, takes nothing from the exit code of the command.
    """
    try:
        if as_json:
            typer.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))
            return
        for line in lines:
            typer.echo(line)
    except BrokenPipeError:
        # What the interpreter flushes at its end must not fail either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(message: str) -> None:
    """Print a warning on the error stream; stdout belongs to the result."""
    typer.echo(f"shipway: warning: {message}", err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return the lines of a table with aligned columns."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset | tuple):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
