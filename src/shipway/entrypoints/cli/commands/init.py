"""`shipway init`: write a project that runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.entrypoints.cli.options import DebugOption, JsonOption
from shipway.entrypoints.cli.output import emit
from shipway.scaffold.apply import apply_plan
from shipway.scaffold.plan import plan_lines, plan_project, suggested_name


class Kind(StrEnum):
    """What the project is about."""

    RAG = "rag"
    CHAT = "chat"
    HTTP = "http"


def init(
    folder: Annotated[Path, typer.Argument(help="Where; made when it is not there.")] = Path(),
    kind: Annotated[
        Kind, typer.Option(help="Answers from documents, plain chat, or a service of your own.")
    ] = Kind.RAG,
    name: Annotated[str, typer.Option(help="The app's name; by default the folder's.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be written.")] = False,
    *,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a project that runs and passes its gate at once; nothing that is there is overwritten."""
    del debug
    target = folder.resolve()
    plan = plan_project(kind.value, name or suggested_name(target.name))
    if not dry_run:

        async def act() -> None:
            await apply_plan(plan, target, force=force)

        anyio.run(act)
    value = {"folder": target, "dry_run": dry_run, "files": [str(item.path) for item in plan]}
    done = (
        f"would write to {target}:"
        if dry_run
        else f"wrote {len(plan)} files to {target}; its README.md says what to do next"
    )
    emit(value, [done, *plan_lines(plan)] if dry_run else [*plan_lines(plan), done], as_json=as_json)
