"""`shipway eval matrix`: prompts, models and settings compared with one another."""

from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.adapters.response_cache.sqlite import opened_cache
from shipway.core.counting import counted
from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.entrypoints.cli import eval_options as options
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.cli.progress import evaluation_progress
from shipway.entrypoints.evaluation_parts import cache_file, evaluation_targets
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.release_parts import PromptFiles
from shipway.entrypoints.wiring import opened
from shipway.evals.budget import Caps
from shipway.evals.matrix import Standing
from shipway.services.application import Application
from shipway.services.matrix import Matrix, MatrixRequest, cheaper_line, compare_variants
from shipway.services.matrix_variants import Axes, read_axes, read_setting
from shipway.services.variants import AnswerCost, Asking, VariantParts

_ONE = 1000


def matrix(
    release: Annotated[str, typer.Argument(help="What is varied; by default what is stable, or the newest.")] = "",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt file of the project; give several.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="An alias of `models`; give several.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting and its values, as temperature=0,0.7.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Read prompts, models and set from this YAML file.")] = None,
    metric: Annotated[str, typer.Option(help="Rank by this; by default the metric of the first gate.")] = "",
    also: Annotated[list[str] | None, typer.Option(help="Show this metric too; it ranks nothing.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Rank on the cases with this tag alone.")] = None,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="How often the table may be wrong.")] = 0.05,
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
    """Ask every combination of prompts, models and settings the same cases, and mark the best if one is shown.

    A variant is the best when it beats every other with the choice among all of them paid for. Exit code: 0; 3 when a
    variant could not be measured, or the budget ended it.
    """
    del debug
    axes = _axes(file, prompt, model, settings)

    def tell(line: str) -> None:
        if not as_json:
            typer.echo(line, err=True)

    async def act() -> Matrix:
        async with opened(project) as app, evaluation_targets(app, tell) as targets, AsyncExitStack() as stack:
            cache = None
            if app.project.evals.cache:
                cache = await stack.enter_async_context(opened_cache(cache_file(app), app.clock))
            asking = _asking(app, (repeats, concurrency, seed), Caps(budget_usd, budget_tokens), out, yes=yes)
            request = MatrixRequest(
                axes, asking, release, dataset, metric, tuple(dict.fromkeys(also or ())), tuple(tag or ()), alpha
            )
            with evaluation_progress(shown=not as_json) as progress:
                parts = VariantParts(targets, LocalJudgeParts(app), progress, tell, cache)
                return await compare_variants(app, request, parts, PromptFiles())

    found = anyio.run(act)
    emit(matrix_value(found), matrix_lines(found), as_json=as_json)
    raise typer.Exit(0 if found.is_whole else VERDICT_EXIT_CODES[Verdict.ERROR])


def matrix_lines(found: Matrix) -> list[str]:
    """Return the table, what it says in words, and what could not be measured."""
    others = list(next(iter(found.others.values()), {}))
    header = ("", "variant", found.table.metric, "interval", "to the first", "interval", *others, "tokens", "$", "ms")
    rows = [_row(one, found, others) for one in found.table.standings]
    repeats = f", {found.repeats} repeats" if found.repeats > 1 else ""
    asked = f"{counted(found.table.n, 'case')} in {counted(found.table.n_clusters, 'cluster')}{repeats}"
    lines = [
        f"{counted(len(found.variants), 'variant')} of {found.base}, {asked}",
        f"intervals of a column hold together with {1 - found.table.alpha:.0%}; ? cannot be told from the first",
        "",
        *table(header, rows),
        "",
        *found.table.sentences,
    ]
    if found.table.left_out:
        lines.append(f"{found.table.left_out} cases have no score of some variant and are left out")
    lines += [line] if (line := cheaper_line(found)) else []
    lines += [f"ERROR: {one.name}: {one.note}" for one in found.table.standings if one.place == "error"]
    lines += [f"ERROR: {name}: {reason}" for name, reason in found.problems.items()]
    return [*lines, f"answers: {found.directory}"]


def matrix_value(found: Matrix) -> dict[str, Any]:
    """Return the JSON form."""
    by_name = {variant.name: variant for variant in found.variants}
    return {
        "release": found.base,
        "metric": found.table.metric,
        "alpha": found.table.alpha,
        "best": found.table.best,
        "contenders": list(found.table.contenders),
        "held_out": found.table.held_out,
        "n": found.table.n,
        "n_clusters": found.table.n_clusters,
        "left_out": found.table.left_out,
        "repeats": found.repeats,
        "variants": [
            {
                **asdict(one),
                "values": dict(by_name[one.name].values),
                "others": dict(found.others.get(one.name, {})),
                **asdict(found.costs.get(one.name, AnswerCost(None, None, None))),
            }
            for one in found.table.standings
        ],
        "problems": dict(found.problems),
        "sentences": [*found.table.sentences, *([line] if (line := cheaper_line(found)) else [])],
        "answers": str(found.directory),
    }


def _row(one: Standing, found: Matrix, others: list[str]) -> tuple[str, ...]:
    cost = found.costs.get(one.name, AnswerCost(None, None, None))
    marks = {"best": "best", "not distinguishable": "?", "worse": "", "error": "ERROR"}
    return (
        marks[one.place],
        one.name,
        _number(one.mean),
        _between(one.interval),
        _number(one.difference, signed=True),
        _between(one.difference_interval, signed=True),
        *(_number(found.others.get(one.name, {}).get(other)) for other in others),
        "-" if cost.tokens is None else f"{cost.tokens:.0f}",
        "-" if cost.cost_usd is None else f"{cost.cost_usd:.5f}",
        "-" if cost.latency_ms is None else f"{cost.latency_ms:.0f}",
    )


def _axes(file: Path | None, prompts: list[str] | None, models: list[str] | None, settings: list[str] | None) -> Axes:
    given = Axes(tuple(prompts or ()), tuple(models or ()), dict(read_setting(text) for text in settings or ()))
    if file is None:
        return given
    try:
        return read_axes(file.read_bytes(), str(file)).plus(given)
    except OSError as error:
        raise UsageError(f"--file {file}: cannot be read: {error.strerror or error}") from error


def _asking(
    app: Application, given: tuple[int | None, int | None, int | None], caps: Caps, out: Path | None, *, yes: bool
) -> Asking:
    settings = app.project.evals
    repeats, concurrency, seed = given
    return Asking(
        repeats or settings.repeats,
        concurrency or settings.concurrency,
        Caps(caps.usd or settings.budget.max_cost_usd, caps.tokens or settings.budget.max_tokens),
        settings.seed if seed is None else seed,
        yes,
        out,
    )


def _between(ends: tuple[float, float] | None, *, signed: bool = False) -> str:
    return "-" if ends is None else f"{_number(ends[0], signed=signed)} to {_number(ends[1], signed=signed)}"


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    digits = 3 if abs(value) < _ONE else 0
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
