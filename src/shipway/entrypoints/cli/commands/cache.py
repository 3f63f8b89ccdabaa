"""`shipway cache`: the calibration of the semantic cache."""

from pathlib import Path

import anyio

from shipway.core.errors import NotFoundError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.gateway_kept import cache_embedder
from shipway.entrypoints.wiring import opened
from shipway.gateway.calibration import Calibration
from shipway.services.caching import calibrate_cache, calibration_in_force

group = command_group("Calibrate the semantic cache, and show whether it may answer.")


@group.command()
def calibrate(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Choose from which similarity on two questions share an answer, and state how often that is wrong."""
    del debug
    found = anyio.run(_calibrated, project)
    emit(found, _lines(found), as_json=as_json)


@group.command()
def show(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show the calibration in force."""
    del debug
    found, reason = anyio.run(_in_force, project)
    if found is None:
        raise NotFoundError(reason)
    emit(found, _lines(found), as_json=as_json)


async def _calibrated(project: Path | None) -> Calibration:
    async with opened(project) as app:
        return await calibrate_cache(app, cache_embedder(app))


async def _in_force(project: Path | None) -> tuple[Calibration | None, str]:
    async with opened(project) as app:
        return await calibration_in_force(app, cache_embedder(app))


def _lines(found: Calibration) -> list[str]:
    hits = "not measured: no pairs with the same answer (cache.pairs)"
    if found.hit_share is not None:
        hits = f"{found.hit_share:.0%} of the pairs with the same answer are found"
    bound = f"at most {found.bound:.2%} with 95 % confidence"
    return [
        f"threshold    {found.threshold:g}",
        f"wrong hits   {found.false_hits} of {found.questions} questions; {bound}",
        f"right hits   {hits}",
        "gateways use it after their next start",
    ]
