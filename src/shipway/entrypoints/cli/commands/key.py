"""`shipway key`: API keys."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import typer

from shipway.entrypoints.cli.durations import duration_s, moment
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.wiring import opened, operated, stored
from shipway.services.application import Installation
from shipway.services.keys import KeyRequest, NewKey, create_key, revoke_key, rotate_key

group = command_group("Create, list, rotate and revoke API keys.")
Result = TypeVar("Result")


@group.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose documents and budget the key uses.")] = "default",
    groups: Annotated[list[str] | None, typer.Option("--group", help="Document group; may be repeated.")] = None,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="invoke, operate or admin; may be repeated.")
    ] = None,
    routes: Annotated[list[str] | None, typer.Option("--route", help="Only this route; may be repeated.")] = None,
    expires: Annotated[str | None, typer.Option(help="Lifetime, such as 90s, 30m, 12h or 90d.")] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Create a key and print it once."""
    del debug
    request = KeyRequest(
        tenant=tenant,
        groups=tuple(groups or ["public"]),
        roles=tuple(roles or ["invoke"]),
        routes=tuple(routes or []),
        expires_in_s=None if expires is None else duration_s(expires, "--expires"),
    )
    made = anyio.run(_create, project, request)
    lines = [made.secret, f"key {made.entry.key_id} for tenant {tenant}; it is not shown again"]
    emit({"key_id": made.entry.key_id, "secret": made.secret, "tenant": tenant}, lines, as_json=as_json)


@group.command("list")
def list_keys(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the keys in force, never the keys themselves."""
    del debug

    async def read(app: Installation) -> list[dict[str, object]]:
        return [
            {
                "key_id": entry.key_id,
                "tenant": entry.tenant,
                "groups": list(entry.groups),
                "roles": list(entry.roles),
                "routes": list(entry.routes),
                "expires": moment(entry.expires_at_s),
                "rotated": moment(entry.rotated_at_s),
                "old_secret_until": moment(entry.previous_until_s),
            }
            for entry in await app.state.keys.list()
        ]

    rows = _run(project, read)
    header = ("key_id", "tenant", "groups", "roles", "routes", "expires", "rotated")
    shown = [[",".join(v) if isinstance(v := row[name], list) else v for name in header] for row in rows]
    emit(rows, table(header, shown), as_json=as_json)


@group.command()
def rotate(
    key_id: Annotated[str, typer.Argument(help="The id that `key list` shows.")],
    overlap: Annotated[
        str, typer.Option(help="How long the old secret still opens, such as 90s or 1h; 0 ends it at once.")
    ] = "1h",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a key a new secret and print it once; the old one opens for a while longer."""
    del debug
    overlap_s = 0.0 if overlap == "0" else duration_s(overlap, "--overlap")
    made = _run(project, lambda app: rotate_key(app, key_id, overlap_s=overlap_s))
    until = moment(made.entry.previous_until_s) if overlap_s else "now"
    lines = [made.secret, f"key {key_id} has this secret now; it is not shown again. The old one ends {until}"]
    shown = {"key_id": key_id, "secret": made.secret, "old_secret_until": made.entry.previous_until_s}
    emit(shown, lines, as_json=as_json)


@group.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The id that `key list` shows.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Revoke a key; the gateway refuses it within a second."""
    del debug
    _run(project, lambda app: revoke_key(app, key_id))
    emit({"key_id": key_id, "revoked": True}, [f"{key_id} is revoked"], as_json=as_json)


async def _create(project: Path | None, request: KeyRequest) -> NewKey:
    async with opened(project) as app:
        return await create_key(app, request)


def _run(project: Path | None, act: Callable[[Installation], Awaitable[Result]]) -> Result:
    """Act on the store alone: a key that leaked must not wait until somebody has mended the project file."""
    where = stored(project, warn)

    async def run() -> Result:
        async with operated(where) as app:
            return await act(app)

    return anyio.run(run)
