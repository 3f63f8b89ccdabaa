"""`shipway runbook`: what to do now, with the commands of this installation filled in."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from shipway.adapters.http_probe.probe import HttpProbe
from shipway.config.loading import LoadedProject
from shipway.core.disk import explained, require_writable_file
from shipway.core.errors import ShipwayError, UsageError
from shipway.entrypoints.cli.durations import duration_s
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.corpus_parts import check_corpus
from shipway.entrypoints.wiring import Site, examined, opened, operated
from shipway.services.runbooks.bundle import bundle, write_bundle
from shipway.services.runbooks.facts import FactParts, Facts, collect
from shipway.services.runbooks.pages import Runbook, written


def runbook(
    kind: Annotated[Runbook, typer.Argument(help="What has happened.")],
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
    bundle_to: Annotated[
        Path | None, typer.Option("--bundle", help="Write a .zip file or folder for the post-mortem as well.")
    ] = None,
    last: Annotated[str, typer.Option("--last", help="Figures and requests of so long, such as 15m or 2h.")] = "15m",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a runbook from the real state: what is true now, what to do, how to verify it, whom to tell.

    It changes nothing, and works while the project file is broken.
    """
    del debug
    if out is not None:
        require_writable_file(out, "--out")
    if bundle_to is not None and bundle_to.exists():
        raise UsageError(f"--bundle {bundle_to} is there already", hint="name another file or folder")
    found, where = examined(project)
    window_s = duration_s(last, "--last")
    facts, text, files = anyio.run(_written, kind, found, where, window_s, bundle_to is not None)
    if bundle_to is not None:
        write_bundle(files, bundle_to)
    if out is not None:
        with explained(out, "cannot be written"):
            out.write_text(text, encoding="utf-8")
    value = {
        "runbook": kind.value,
        "environment": facts.environment,
        "markdown": text,
        "out": out,
        "bundle": bundle_to,
        "files": sorted(files),
        "unknown": list(facts.unknown),
    }
    lines = [text.rstrip()] if out is None else [f"{out}: runbook of {kind.value} in {facts.environment}"]
    lines += [f"{bundle_to}: {len(files)} files for the post-mortem"] if bundle_to is not None else []
    emit(value, lines, as_json=as_json)


async def _written(
    kind: Runbook, found: LoadedProject | ShipwayError, where: Site, window_s: float, is_kept: bool
) -> tuple[Facts, str, dict[str, bytes]]:
    loaded = found if isinstance(found, LoadedProject) else None

    async def corpus() -> str:
        async with opened(None, loaded=loaded) as app:
            return await check_corpus(app)

    parts = FactParts(
        app=where.record.app,
        settings=loaded.project if loaded is not None else _error(found),
        status=where.running.status(),
        window_s=window_s,
        corpus=corpus if loaded is not None and kind is Runbook.STALE_INDEX else None,
        verify_audit=kind is Runbook.POST_ROLLBACK,
    )
    async with operated(where) as app:
        facts = await collect(app, parts)
        text = written(kind, facts)
        files = await bundle(app, facts, text, _fetched) if is_kept else {}
    return facts, text, files


def _error(found: LoadedProject | ShipwayError) -> ShipwayError:
    assert isinstance(found, ShipwayError)  # noqa: S101 - it is one or the other
    return found


async def _fetched(url: str) -> str | None:
    said = await HttpProbe().status(url)
    return said[1] if said is not None else None
