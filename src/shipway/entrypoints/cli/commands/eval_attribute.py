"""`shipway eval attribute`: which of the parts that changed lowered a score."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli import eval_options as options
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.cli.progress import evaluation_progress
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened
from shipway.evals.attribution_result import Attribution
from shipway.evals.attribution_text import attribution_lines, attribution_table
from shipway.evals.budget import Caps
from shipway.services.attribution import Attributed, AttributionRequest, attribute_failure
from shipway.services.variants import Asking, VariantParts


def attribute(
    release: Annotated[str, typer.Argument(help="The release whose gate failed.")],
    baseline: Annotated[str, typer.Option(help="The release that was better; by default that of the evaluation.")] = "",
    metric: Annotated[
        list[str] | None, typer.Option(help="Explain this metric; by default those of the gates that failed.")
    ] = None,
    dataset: options.Dataset = "",
    repeats: options.Repeats = None,
    concurrency: options.Concurrency = None,
    budget_usd: options.BudgetUsd = None,
    budget_tokens: options.BudgetTokens = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Keep the answers in this folder; a run that is there is gone on with.")
    ] = None,
    *,
    yes: options.Yes = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Swap the parts that changed one at a time, ask, and name the one that lowered the score.

    Each part is put alone into the baseline and taken back from the release. Exit code: 0 explained, 3 when a swap
    could not be tried and nothing is explained without it, 4 when more cases or repeats are needed.
    """
    del debug

    def tell(line: str) -> None:
        if not as_json:
            typer.echo(line, err=True)

    async def act() -> Attributed:
        async with opened(project) as app, evaluation_targets(app, tell) as targets:
            settings = app.project.evals
            asking = Asking(
                repeats or settings.repeats,
                concurrency or settings.concurrency,
                Caps(budget_usd or settings.budget.max_cost_usd, budget_tokens or settings.budget.max_tokens),
                settings.seed if seed is None else seed,
                yes,
                out,
            )
            request = AttributionRequest(release, asking, baseline, tuple(metric or ()), dataset)
            with evaluation_progress(shown=not as_json) as progress:
                return await attribute_failure(
                    app, request, VariantParts(targets, LocalJudgeParts(app), progress, tell)
                )

    found = anyio.run(act)
    emit(attributed_value(found), attributed_lines(found), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[found.verdict])


def attributed_lines(found: Attributed) -> list[str]:
    """Return what was found, a block a metric."""
    parts = ", ".join(found.difference.parts)
    lines = [f"{found.release} against {found.baseline}: changed are {parts}"]
    for one in found.found:
        lines += ["", *([f"gate '{one.gate}' failed"] if one.gate else [])]
        lines += attribution_lines(one, found.baseline, found.release)
        rows = attribution_table(one)
        if len(rows) > 1 and one.kind != "no drop":
            lines += ["", *table(list(rows[0]), [list(row.values()) for row in rows])]
    if any(one.verdict is Verdict.PASS for one in found.found):
        lines += ["", f"what changed in words: `shipway release diff {found.baseline} {found.release}`"]
    return [*lines, f"answers: {found.directory}"]


def attributed_value(found: Attributed) -> dict[str, Any]:
    """Return the JSON form."""
    return {
        "release": found.release,
        "baseline": found.baseline,
        "verdict": found.verdict.value,
        "changed": {
            part: [change.key for change in found.difference.changes if change.part == part]
            for part in found.difference.parts
        },
        "repeats": found.repeats,
        "metrics": [_value(one, found) for one in found.found],
        "answers": str(found.directory),
    }


def _value(one: Attribution, found: Attributed) -> dict[str, Any]:
    body = asdict(one)
    return {
        **body,
        "verdict": one.verdict.value,
        "culprit": one.culprit,
        "text": attribution_lines(one, found.baseline, found.release),
    }
