"""`shipway flag`: feature flags in flagd's format."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio
import orjson
import typer

from shipway.core.errors import UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.wiring import operated, site
from shipway.services.application import Installation
from shipway.services.flags import delete_flag, list_flags, set_document, set_flag, show_flag

group = command_group("Feature flags that choose models and prompts, in flagd's JSON format.")

_LARGEST_BYTES = 1 << 20
Result = TypeVar("Result")


@group.command("list")
def list_(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the flags."""
    del debug
    found = _run(project, list_flags)
    rows = [
        [key, flag["state"], ",".join(flag["variants"]), flag.get("defaultVariant") or "-", _targeted(flag)]
        for key, flag in sorted(found.items())
    ]
    header = ("flag", "state", "variants", "default", "targeting")
    emit(found, table(header, rows) if rows else ["there are no flags"], as_json=as_json)


@group.command()
def show(
    key: Annotated[str, typer.Argument(help="The flag.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a flag's definition."""
    del debug
    found = _run(project, lambda app: show_flag(app, key))
    emit(found, [orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()], as_json=as_json)


@group.command("set")
def set_(
    key: Annotated[str, typer.Argument(help="The flag, or all to replace every flag by a whole flagd document.")],
    source: Annotated[str, typer.Argument(help="A JSON file, - for standard input, or the JSON itself.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a flag; every gateway worker obeys within a second."""
    del debug
    definition = _read(source)
    if key == "all":
        written = _run(project, lambda app: set_document(app, definition))
    else:
        written = _run(project, lambda app: set_flag(app, key, definition))
    count = len(written.flags.get("flags", {}))
    value = {"flag": key, "version": written.version, "flags": count}
    emit(value, [f"{key} is written; {count} flags in snapshot {written.version}"], as_json=as_json)


@group.command()
def delete(
    key: Annotated[str, typer.Argument(help="The flag.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Delete a flag; rules that name it no longer match."""
    del debug
    written = _run(project, lambda app: delete_flag(app, key))
    emit({"flag": key, "version": written.version}, [f"{key} is deleted"], as_json=as_json)


def _read(source: str) -> dict[str, Any]:
    if source.lstrip().startswith("{"):
        data, shown = source.encode(), "the definition"
    elif source == "-":
        data, shown = sys.stdin.buffer.read(_LARGEST_BYTES + 1), "standard input"
    else:
        try:
            data, shown = Path(source).read_bytes(), source
        except OSError as error:
            raise UsageError(f"{source}: cannot be read: {error.strerror}") from error
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{shown}:{error.lineno}: not valid JSON: {error.msg}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{shown}: a flag is a JSON object with state, variants and defaultVariant")
    return value


def _targeted(flag: dict[str, Any]) -> str:
    return "yes" if flag.get("targeting") else "no"


def _run(project: Path | None, act: Callable[[Installation], Awaitable[Result]]) -> Result:
    where = site(project, warn)

    async def run() -> Result:
        async with operated(where) as app:
            return await act(app)

    return anyio.run(run)
