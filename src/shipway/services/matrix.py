"""Comparing prompts, models and settings with one another on the project's cases; `shipway eval matrix` calls this."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ReleaseId
from shipway.evals.matrix import MatrixTable, Ranking, rank
from shipway.evals.metric_names import resolve_metrics
from shipway.evals.metrics import METRICS, Metric
from shipway.evals.model import Dataset
from shipway.evals.sample import draw, judged_cases, score_table
from shipway.registry.model import Release
from shipway.services.application import Application
from shipway.services.dataset_files import load_project_dataset
from shipway.services.evaluation_scoring import load_scoring
from shipway.services.matrix_variants import Axes, Variant, variants_of
from shipway.services.releases import PromptReader
from shipway.services.variants import AnswerCost, Asking, VariantParts, Variants, run_variants

_DEFAULT_METRIC = "correct"
_SHOWN_TAGS = 20


@dataclass(frozen=True, slots=True)
class MatrixRequest:
    """What to compare.

    `release` is what is varied; empty means what is stable now, or else the newest. `metric` ranks; empty means that of
    the project's first gate. `others` are shown beside it and rank nothing.
    """

    axes: Axes
    asking: Asking
    release: str = ""
    dataset: str = ""
    metric: str = ""
    others: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class Matrix:
    """A finished comparison; mappings are by the variant's name. `others` holds means by metric."""

    base: ReleaseId
    variants: tuple[Variant, ...]
    table: MatrixTable
    others: Mapping[str, Mapping[str, float | None]] = field(hash=False)
    costs: Mapping[str, AnswerCost] = field(hash=False)
    problems: Mapping[str, str] = field(hash=False)
    repeats: int
    directory: Path

    @property
    def is_whole(self) -> bool:
        """Whether every variant was measured."""
        return all(one.place != "error" for one in self.table.standings) and not self.problems


async def compare_variants(
    app: Application, request: MatrixRequest, parts: VariantParts, reader: PromptReader
) -> Matrix:
    """Ask every variant the same cases, interleaved, and rank them.

    Raises:
        NotFoundError: no such release, prompt file or model.
        UsageError: nothing varies, an unknown metric or setting, or an estimate over the budget.
        GateRefusedError: with verdict ERROR, where the budget ends the run.
    """
    base = await _base(app, request.release)
    variants = await variants_of(app, base, parts.targets.route(base), request.axes, reader)
    dataset = await _dataset(app, request)
    metric = request.metric or _gated(app)
    metrics = {**METRICS, **_resolved(app, [metric, *request.others], request.asking.repeats)}
    _demand_cases(dataset, metrics[metric], request.tags)
    asked = Variants(
        {variant.name: variant.release for variant in variants},
        dataset,
        await load_scoring(app, dataset, metrics),
        request.asking,
    )
    found = await run_variants(app, asked, parts)
    if not found.runs:
        raise UsageError(f"no variant can be opened: {next(iter(found.problems.values()))}")
    tables = {name: score_table(run, [metric]) for name, run in found.runs.items()}
    ranking = Ranking(alpha=request.alpha, seed=abs(request.asking.seed), tags=request.tags)
    return Matrix(
        base.id,
        tuple(variants),
        rank(dataset, tables, metrics[metric], ranking),
        {
            name: {other: draw(run, metrics[other], request.tags).mean for other in request.others}
            for name, run in found.runs.items()
        },
        found.costs,
        found.problems,
        request.asking.repeats,
        found.directory,
    )


def cheaper_line(matrix: Matrix) -> str:
    """Return which of the variants that may be the best costs or takes least; "" when that is the one that leads."""
    names = matrix.table.contenders
    for attribute, unit in (
        ("cost_usd", "${:.5f} an answer"),
        ("tokens", "{:.0f} tokens an answer"),
        ("latency_ms", "{:.0f} ms"),
    ):
        known = {name: getattr(matrix.costs[name], attribute) for name in names}
        if len(known) > 1 and all(value is not None for value in known.values()):
            least = min(known, key=lambda name: known[name])
            leading = known[names[0]]
            if known[least] < leading:
                shown = f"{unit.format(known[least])}, {names[0]} {unit.format(leading)}"
                return f"of those that cannot be told apart, {least} takes least: {shown}"
            return ""
    return ""


async def _base(app: Application, named: str) -> Release:
    if named:
        return await app.releases.get(named)
    stable = await app.releases.label(app.environment)
    if stable is not None:
        return await app.releases.get(stable)
    known = await app.releases.list()
    if not known:
        raise NotFoundError("there is no release to vary", hint="make one: `shipway release create`")
    return known[-1]


async def _dataset(app: Application, request: MatrixRequest) -> Dataset:
    dataset = await load_project_dataset(app.loaded, request.dataset)
    split = app.project.evals.split
    return dataset if split == "all" else dataset.only(split)


def _demand_cases(dataset: Dataset, metric: Metric, tags: Sequence[str]) -> None:
    """Refuse to ask anything where nothing could be ranked."""
    if judged_cases(dataset, metric, tags):
        return
    with_tags = f" with {'tag' if len(tags) == 1 else 'tags'} {', '.join(map(repr, tags))}" if tags else ""
    known = sorted({tag for case in dataset.cases for tag in case.tags})
    told = [f"its tags are {', '.join(known[:_SHOWN_TAGS])}" if known else "its cases have no tags"] if tags else []
    raise UsageError(
        f"nothing to rank: {metric.name} applies to no case of {dataset.name!r}{with_tags}; nothing was asked",
        hint="; ".join([*told, "name another --tag" if tags else "name another --metric"]),
    )


def _resolved(app: Application, names: Iterable[str], repeats: int) -> Mapping[str, Any]:
    judge = app.project.evals.judge or ""
    return resolve_metrics(names, has_judge=bool(judge), judge=judge, repeats=repeats)


def _gated(app: Application) -> str:
    return next((gate.metric for gate in app.project.gates if gate.metric), _DEFAULT_METRIC)
