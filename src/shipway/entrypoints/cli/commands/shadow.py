"""`shipway shadow`: copies of requests for a release that no user sees."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.core.snapshot import Snapshot
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, warn
from shipway.entrypoints.wiring import operated, site
from shipway.services.application import Installation
from shipway.services.shadows import clear_shadow, set_shadow

group = command_group("Ask another release the same, without any user seeing it.")


@group.command("set")
def set_(
    route: Annotated[str, typer.Argument(help="The route whose requests are copied.")],
    release: Annotated[str, typer.Argument(help="The release that gets the copies.")],
    share: Annotated[float, typer.Option(help="Share of the requests, 0.1 is 10 %.")] = 0.1,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Copy a share of a route's requests to a release."""
    del debug
    written = _run(project, lambda app: set_shadow(app, route, release, share))
    value = {"route": route, "release": release, "share": share, "version": written.version}
    emit(value, [f"{share:.1%} of the requests of {route} are copied to {release}"], as_json=as_json)


@group.command()
def clear(
    route: Annotated[str, typer.Argument(help="The route whose requests are copied no more.")],
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Copy no request of a route any more."""
    del debug
    written = _run(project, lambda app: clear_shadow(app, route))
    emit({"route": route, "version": written.version}, [f"no request of {route} is copied any more"], as_json=as_json)


def _run(project: Path | None, act: Callable[[Installation], Awaitable[Snapshot]]) -> Snapshot:
    found = site(project, warn)

    async def run() -> Snapshot:
        async with operated(found) as app:
            return await act(app)

    return anyio.run(run)
