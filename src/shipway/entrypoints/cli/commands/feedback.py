"""`shipway feedback`: what users said about answers."""

from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
import typer

from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table, warn
from shipway.entrypoints.wiring import operated, site
from shipway.services.feedback import FeedbackFilter, list_feedback

group = command_group("Read what users said about answers.")
_SHOWN_CHARS = 60


@group.callback()
def feedback() -> None:
    """Read what users said about answers."""
    # Without this a group of one command becomes that command.


@group.command("list")
def list_(
    route: Annotated[str | None, typer.Option(help="Only this route.")] = None,
    release: Annotated[str | None, typer.Option(help="Only this release (the id or its beginning).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    request: Annotated[str | None, typer.Option(help="Only this request id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List feedback, oldest first."""
    del debug
    found_site = site(project, warn)
    wanted = FeedbackFilter(route, release, tenant, request)

    async def read() -> list[dict[str, Any]]:
        async with operated(found_site) as app:
            return await list_feedback(app, wanted, limit=limit)

    rows = anyio.run(read)
    header = ("at", "request", "route", "release", "thumbs", "rating", "labels", "comment")
    emit(rows, table(header, map(_row, rows)) if rows else ["there is no feedback yet"], as_json=as_json)


def _row(row: dict[str, Any]) -> list[object]:
    at = datetime.fromtimestamp(row["at_s"], UTC).isoformat(timespec="seconds")
    comment = " ".join((row["comment"] or row["correction"] or "").split())
    shown = comment if len(comment) <= _SHOWN_CHARS else f"{comment[: _SHOWN_CHARS - 1]}…"
    rating = row["rating"] if row["rating"] is not None else "-"
    labels = ",".join(row["labels"]) or "-"
    return [at, row["request_id"], row["route"], row["release"], row["thumbs"] or "-", rating, labels, shown]
