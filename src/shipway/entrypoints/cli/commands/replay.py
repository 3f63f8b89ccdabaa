"""`shipway replay`: recorded, masked traffic asked of a release before any user meets it."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.core.errors import UsageError
from shipway.entrypoints.cli import eval_options as options
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.cli.progress import evaluation_progress
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened
from shipway.evals.budget import Caps
from shipway.evals.report import gate_lines
from shipway.evals.report_forms import as_json as report_as_json
from shipway.services.application import Application
from shipway.services.replays.conversations import History
from shipway.services.replays.replay import Replay, ReplayRequest, replay, routed
from shipway.services.replays.traffic import Recorded, Source, Wanted, recorded_traffic
from shipway.services.variants import AnswerCost, Asking, VariantParts

_SHOWN_WORSE = 5


def replay_(
    release: Annotated[str, typer.Argument(help="The release that is asked.")],
    against: Annotated[str, typer.Option(help="Compare with this release; by default what is stable now.")] = "",
    route: Annotated[str, typer.Option(help="Whose traffic; by default the only route that has any.")] = "",
    log: Annotated[
        Path | None, typer.Option(help="JSON lines that hold a question each, such as request logs.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many distinct questions.")] = 200,
    history: Annotated[
        History,
        typer.Option(
            help="What stands before a later question: each release's own answers, the recorded ones, nothing."
        ),
    ] = History.OWN,
    repeats: options.Repeats = None,
    concurrency: options.Concurrency = None,
    budget_usd: options.BudgetUsd = None,
    budget_tokens: options.BudgetTokens = None,
    out: Annotated[Path | None, typer.Option(help="Keep the answers in this folder.")] = None,
    *,
    from_records: Annotated[
        bool, typer.Option("--from-records", help="Sampled answers and masked log lines of this app; the default.")
    ] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="The questions of shadow pairs that were kept.")] = False,
    yes: options.Yes = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask a release what users asked, beside what is stable, and judge the pairs; no user sees an answer.

    Conversations are asked whole and in order, as far as their turns were kept.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA: too few questions were kept to say anything.
    """
    del debug
    wanted = Wanted(_source(log, from_records=from_records, pairs=pairs), log, route, limit, history)
    shown = not as_json
    given = partial(_asking, repeats=repeats, concurrency=concurrency, caps=Caps(budget_usd, budget_tokens))
    found = anyio.run(partial(_replayed, project, wanted, (release, against), partial(given, out=out, yes=yes), shown))
    emit(_value(found), _lines(found), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[found.verdict])


async def _replayed(
    project: Path | None,
    wanted: Wanted,
    releases: tuple[str, str],
    asking: Any,
    shown: bool,
) -> Replay:
    def tell(line: str) -> None:
        if shown:
            typer.echo(line, err=True)

    async with opened(project) as app:
        for name in filter(None, releases):
            await app.releases.get(name)
        recorded = await recorded_traffic(app, wanted)
        own = routed(app, recorded.route)
        async with evaluation_targets(own, tell) as targets:
            with evaluation_progress(shown=shown) as progress:
                parts = VariantParts(targets, LocalJudgeParts(own), progress, tell)
                return await replay(own, ReplayRequest(releases[0], asking(own), releases[1]), recorded, parts)


def _source(log: Path | None, *, from_records: bool, pairs: bool) -> Source:
    named = [
        source
        for source, is_named in ((Source.LOG, log is not None), (Source.RECORDS, from_records), (Source.PAIRS, pairs))
        if is_named
    ]
    if len(named) > 1:
        raise UsageError("name one source: --from-records, --log FILE or --pairs")
    return named[0] if named else Source.RECORDS


def _asking(
    app: Application, *, repeats: int | None, concurrency: int | None, caps: Caps, out: Path | None, yes: bool
) -> Asking:
    settings = app.project.evals
    return Asking(
        repeats or settings.repeats,
        concurrency or settings.concurrency,
        Caps(caps.usd or settings.budget.max_cost_usd, caps.tokens or settings.budget.max_tokens),
        settings.seed,
        yes,
        out,
    )


def _value(found: Replay) -> dict[str, Any]:
    recorded = found.recorded
    return {
        "replay": found.id,
        "release": found.release,
        "against": found.against,
        "route": recorded.route,
        "cases": len(recorded.dataset.cases),
        "found": recorded.found,
        "later_turns": _later_turns(recorded),
        "left_out": dict(recorded.left_out),
        **report_as_json(found.report),
        "verdict": found.verdict.value,
        "problem": found.problem or None,
        "worse": list(found.worse),
        "costs": dict(found.costs),
        "answers": str(found.directory or ""),
    }


def _lines(found: Replay) -> list[str]:
    recorded = found.recorded
    left = ", ".join(f"{count} {reason}" for reason, count in recorded.left_out.items())
    lines = [
        f"{found.release} against {found.against} on {recorded.route}:"
        f" {len(recorded.dataset.cases)} questions of {recorded.found} kept" + (f" ({left})" if left else "")
    ]
    if later := _later_turns(recorded):
        lines.append(f"{later} of them follow others of their conversation")
    if found.problem:
        return [*lines, f"NO_DATA: {found.problem}"]
    rows = [(name, *_cost(cost)) for name, cost in found.costs.items()]
    lines += [*gate_lines(found.report), "", *table(("release", "tokens", "$", "ms"), rows)]
    if found.worse:
        shown = ", ".join(found.worse[:_SHOWN_WORSE])
        lines += ["", f"answered by {found.against} alone: {len(found.worse)} ({shown})"]
    return [*lines, f"answers: {found.directory}"]


def _later_turns(recorded: Recorded) -> int:
    return sum("turn" in case.metadata for case in recorded.dataset.cases)


def _cost(cost: AnswerCost) -> tuple[str, str, str]:
    return (
        "-" if cost.tokens is None else f"{cost.tokens:.0f}",
        "-" if cost.cost_usd is None else f"{cost.cost_usd:.5f}",
        "-" if cost.latency_ms is None else f"{cost.latency_ms:.0f}",
    )
