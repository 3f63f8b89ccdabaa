"""`shipway quality`: goldens, sampled answers, safety checks and shadow pairs."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import anyio
import typer

from shipway.core.observation import JUDGED_PAIR, PAIR
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.wiring import load_as_served, opened
from shipway.operations.quality import RuleReading
from shipway.services.quality.status import PairSummary, QualityStatus, quality_status

group = command_group("See how good the answers are that users get.")
_HOUR_S = 3600.0


@group.callback()
def quality() -> None:
    """See how good the answers are that users get."""
    # Without this a group of one command becomes that command.


@group.command()
def status(
    every_release: Annotated[bool, typer.Option("--all", help="Also releases that are not served any more.")] = False,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what judges, goldens and users said lately, and whether the rules hold."""
    del debug
    loaded = load_as_served(project)

    async def read() -> QualityStatus:
        async with opened(project, loaded=loaded) as app:
            return await quality_status(app, every_release=every_release)

    found = anyio.run(read)
    emit(found, _lines(found), as_json=as_json)


def _lines(found: QualityStatus) -> Iterator[str]:
    yield f"the last {found.window_s / _HOUR_S:g} h"
    if found.rules:
        yield from table(("rule", "route", "release", "passed", "share", "95 %", "at least", "verdict"), _rules(found))
    else:
        yield "nothing was observed that the rules look at"
        if not found.sample:
            yield "  quality.sample is 0: no answer is kept for the judge"
    if found.pairs:
        yield from table(("shadow of", "release", "by", "pairs", "worse", "better", "mean"), _pairs(found.pairs))
    up, down = found.thumbs
    if up or down:
        yield f"users: {up} up, {down} down"
    if found.sample or found.tokens_taken:
        taken, most = found.tokens_taken, found.tokens_per_day
        yield f"judge {found.judge}: {taken:,} of {most:,} tokens taken today"
    for error, count in sorted(found.errors.items()):
        yield f"ERROR: {count} could not be judged or asked ({error}); they are no scores"


def _rules(found: QualityStatus) -> Iterable[list[object]]:
    return map(_rule, found.rules)


def _rule(reading: RuleReading) -> list[object]:
    rule = reading.rule
    share, interval = f"{reading.passed / reading.n:.1%}", f"{reading.low:.1%} to {reading.high:.1%}"
    passed = f"{reading.passed}/{reading.n}"
    least = f"{rule.minimum:.0%}"
    return [rule.name, reading.route, reading.release, passed, share, interval, least, reading.verdict.value]


def _pairs(pairs: Iterable[PairSummary]) -> Iterable[list[object]]:
    by = {PAIR: "events", JUDGED_PAIR: "judge"}
    return (
        [item.route, item.release, by[item.kind], item.pairs, item.worse, item.better, f"{item.mean:+.3f}"]
        for item in pairs
    )
