"""`shipway db`: the store's file."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.adapters.sql import backup as store_backup
from shipway.adapters.sql import migrate
from shipway.core.disk import require_writable_file
from shipway.core.errors import IntegrityError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.wiring import load
from shipway.services.application import Workspace

group = command_group("Upgrade, back up, restore and check the store.")


def _file(project: Path | None) -> Path:
    return Workspace(load(project).root).state_file


@group.command()
def upgrade(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Bring the store to this version's schema."""
    del debug
    before, after = anyio.run(migrate.upgrade, _file(project))
    line = f"schema {after}" + ("" if before == after else f" (was {before or 'empty'})")
    emit({"from": before, "to": after}, [line], as_json=as_json)


@group.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A file that does not exist yet.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Copy the store while it is in use; the copy is checked."""
    del debug
    if not target.exists():
        require_writable_file(target, str(target))
    anyio.run(store_backup.backup, _file(project), target)
    size = target.stat().st_size
    emit({"file": target, "size_bytes": size}, [f"{target}: {size} bytes, checked"], as_json=as_json)


@group.command()
def restore(
    source: Annotated[Path, typer.Argument(help="A file that `db backup` wrote.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Replace the store by a backup; nothing may be running."""
    del debug
    anyio.run(store_backup.restore, source, _file(project))
    emit({"restored": source}, [f"restored from {source}"], as_json=as_json)


@group.command()
def check(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check pages, references, schema version and the audit chain."""
    del debug
    faults = anyio.run(store_backup.check, _file(project))
    if faults:
        raise IntegrityError("the store is damaged:\n" + "\n".join(f"  {fault}" for fault in faults))
    emit({"sound": True}, ["the store is sound"], as_json=as_json)
