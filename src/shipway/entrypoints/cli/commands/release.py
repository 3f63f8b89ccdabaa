"""`shipway release`: releases and their differences."""

import json
from datetime import UTC, datetime
from typing import Annotated

import anyio
import typer

from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.cli.release_lines import difference_lines
from shipway.entrypoints.release_parts import release_parts
from shipway.entrypoints.wiring import opened
from shipway.registry.model import Release
from shipway.services.gate_check import refuse_blind_gates
from shipway.services.release_differences import ComparedReleases, compared_releases
from shipway.services.releases import CreatedRelease, create_release

group = command_group("Create, list, show and compare releases.")
ReleaseArgument = Annotated[str, typer.Argument(help="A release id or the beginning of one.")]


@group.command()
def create(
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the audit log.")] = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Hash code, prompts, models, data and policy into one release."""
    del debug

    async def act() -> CreatedRelease:
        async with opened(project) as app:
            await refuse_blind_gates(app.loaded)
            return await create_release(app, release_parts(), message=message)

    made = anyio.run(act)
    release = made.release
    state = "created" if made.is_new else "exists already with this content"
    lines = [f"{release.id}  {state}", *_part_lines(release)]
    emit({"release": release.id, "is_new": made.is_new, "parts": release.part_digests()}, lines, as_json=as_json)


@group.command("list")
def list_releases(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List releases, oldest first, and where each is stable."""
    del debug

    async def read() -> list[dict[str, object]]:
        async with opened(project) as app:
            stable = await app.releases.label(app.environment)
            return [
                {
                    "release": release.id,
                    "created": _time(release.provenance.created_at_s),
                    "by": release.provenance.created_by,
                    "commit": (release.provenance.commit or "-")[:12] + ("+" if release.provenance.dirty else ""),
                    "stable_in": app.environment if release.id == stable else "",
                    "message": release.provenance.message,
                }
                for release in await app.releases.list()
            ]

    rows = anyio.run(read)
    header = ("release", "created", "by", "commit", "stable_in", "message")
    emit(rows, table(header, [[row[name] for name in header] for row in rows]), as_json=as_json)


@group.command()
def show(
    release: ReleaseArgument,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show a release: manifest, provenance and what was signed off."""
    del debug

    async def read() -> Release:
        async with opened(project) as app:
            return await app.releases.get(release)

    found = anyio.run(read)
    provenance = found.provenance
    lines = [
        f"{found.id}  {found.app}",
        f"  made by {provenance.created_by} at {_time(provenance.created_at_s)} from commit {provenance.commit or '-'}"
        + (" with uncommitted changes" if provenance.dirty else ""),
        *_part_lines(found),
        *(f"  signed off: {json.dumps(statement, sort_keys=True)}" for statement in found.signed_off),
        json.dumps(found.manifest, indent=2, sort_keys=True, ensure_ascii=False),
    ]
    emit(found.to_dict() | {"parts": found.part_digests()}, lines, as_json=as_json)


@group.command()
def diff(
    before: ReleaseArgument,
    after: ReleaseArgument,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which parts changed, line by line where they are text, and which gates that makes necessary."""
    del debug

    async def read() -> ComparedReleases:
        async with opened(project) as app:
            return await compared_releases(
                app.state.blobs, await app.releases.get(before), await app.releases.get(after)
            )

    found = anyio.run(read)
    changes = found.difference
    value = {
        "before": changes.before,
        "after": changes.after,
        "parts": list(changes.parts),
        "evaluation": changes.evaluation,
        "changes": list(changes.changes),
        "texts": list(found.texts),
    }
    emit(value, difference_lines(found), as_json=as_json)


def _part_lines(release: Release) -> list[str]:
    return [f"  {kind:7} {digest}" for kind, digest in release.part_digests().items()]


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
