"""`shipway eval cache`: the answers that runs without a gate may give again."""

from typing import Any

import anyio

from shipway.adapters.response_cache.sqlite import opened_cache
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.evaluation_parts import cache_file
from shipway.entrypoints.wiring import opened

group = command_group("The answers that runs without a gate may give again.")
_MEGABYTE = 1e6


@group.command()
def stats(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show how many answers are kept, and where."""
    del debug

    async def act() -> dict[str, Any]:
        async with opened(project) as app, opened_cache(cache_file(app), app.clock) as cache:
            found = await cache.stats()
            return {"answers": found.answers, "bytes": found.bytes, "file": str(cache_file(app))}

    found = anyio.run(act)
    line = f"{found['answers']} answers, {found['bytes'] / _MEGABYTE:.1f} MB, in {found['file']}"
    emit(found, [line], as_json=as_json)


@group.command()
def clear(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Forget every kept answer; results of evaluations stay."""
    del debug

    async def act() -> dict[str, Any]:
        async with opened(project) as app, opened_cache(cache_file(app), app.clock) as cache:
            found = await cache.clear()
            return {"answers": found.answers, "bytes": found.bytes}

    found = anyio.run(act)
    emit(found, [f"{found['answers']} answers are forgotten"], as_json=as_json)
