"""`shipway pipeline list|graph|explain`: what the stages are, and what a run would do with them."""

from collections.abc import Iterable
from typing import Annotated, Any

import anyio
import typer

from shipway import __version__
from shipway.adapters.git.branches import current_branch
from shipway.core.errors import UsageError
from shipway.entrypoints.builtin_stages import catalogue
from shipway.entrypoints.cli import pipeline_options as options
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.pipeline_parts import Pipelines
from shipway.entrypoints.wiring import load
from shipway.pipeline.forecast import Forecast, forecast
from shipway.pipeline.plan import plan_digest, stage_document
from shipway.pipeline.selection import Asked, select
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.standard.tell import derived_lines, in_words
from shipway.services.pipeline_runs import RunRequest, settled_results

_WORDS = {
    "runs": "would run",
    "known": "would not run, its result is in the cache",
    "open": "depends on what runs before it",
    "left out": "would be left out",
    "given": "would not run, an earlier result is taken",
}


def list_stages(
    *,
    builtins: Annotated[bool, typer.Option("--builtins", help="List the stages that `uses` can name.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the stages in an order in which they can run."""
    del debug
    if builtins:
        known = [
            {"name": item.name, "options": ",".join(item.options.model_fields), "summary": item.summary}
            for item in catalogue().values()
        ]
        cells = [(row["name"], row["options"], row["summary"]) for row in known]
        emit(known, table(("uses", "options", "what it does"), cells), as_json=as_json)
        return
    found = Pipelines.of(load(project))
    because = found.derived.because if found.derived else {}
    rows = [
        {"stage": name, "does": stage.does, "needs": list(stage.needs)}
        | ({"when": in_words(stage.when), "from": because[name]} if name in because else {})
        for name, stage in found.graph.stages.items()
    ]
    columns = ("stage", "does", "needs", *(("when", "from") if because else ()))
    shown = [[",".join(row[key]) if key == "needs" else row[key] for key in columns] for row in rows]
    emit(rows, [*derived_lines(found.derived), *table(columns, shown)], as_json=as_json)


def graph(
    *,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid diagram.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what needs what, and the digest of the plan."""
    del debug
    pipelines = Pipelines.of(load(project))
    found = pipelines.graph
    digest = plan_digest(found, __version__)
    stages = [stage_document(stage) for stage in found.stages.values()]
    document = {"digest": digest, "derived": pipelines.derived is not None, "stages": stages}
    said = derived_lines(pipelines.derived)
    tree = [*said, *_tree(found.stages.values()), "", f"plan {digest}"]
    lines = [*(f"%% {line}".rstrip() for line in said), *_mermaid(found.stages.values())] if mermaid else tree
    emit(document, lines, as_json=as_json)


def explain(
    stage: Annotated[str, typer.Argument(help="The stage.")],
    event: options.EventOption = "manual",
    branch: options.BranchOption = "",
    changed: options.ChangedOption = None,
    since: options.SinceOption = "",
    tier: options.TierOption = "",
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say whether a stage would run now, and which input, tool, variable or stage before it decides that."""
    del debug
    found = Pipelines.of(load(project))
    if stage not in found.graph.stages:
        raise UsageError(f"there is no stage {stage!r}", hint=f"the pipeline has {', '.join(found.graph.stages)}")
    changed = options.since(found.loaded, since, changed)
    around = options.circumstance(event, branch or current_branch(found.loaded.root), changed, tier)
    forecasts = anyio.run(_forecast, found, RunRequest(Asked(until=stage), around), True)
    seen = next(item for item in forecasts if item.stage == stage)
    parts = dict(seen.parts or {})
    body = _document(seen) | {"key": seen.key, "parts": parts}
    lines = [f"{stage}: {_WORDS[seen.state]}", *(f"  {said}" for said in (*seen.reasons, *seen.notes))]
    if parts:
        lines += ["", "decided by", *(f"  {name}: {value}" for name, value in parts.items())]
    emit(body, lines, as_json=as_json)


def show_forecast(found: Pipelines, request: RunRequest, *, read_cache: bool, as_json: bool) -> None:
    """Print what a run would do."""
    seen = anyio.run(_forecast, found, request, read_cache)
    body = [_document(item) for item in seen]
    rows = [(item.stage, item.state, "; ".join((*item.reasons, *item.notes))) for item in seen]
    emit(body, table(("stage", "would be", "because"), rows), as_json=as_json)


def _document(seen: Forecast) -> dict[str, Any]:
    said = {"reasons": list(seen.reasons), "waits_for": list(seen.waits_for), "notes": list(seen.notes)}
    return {"stage": seen.stage, "state": seen.state, **said}


async def _forecast(found: Pipelines, request: RunRequest, read_cache: bool) -> list[Forecast]:
    digests = found.digests()
    try:
        chosen = select(found.graph, request.asked, request.circumstance)
        memory = found.memory(digests, {}, read_cache=read_cache)
        return await forecast(found.graph, settled_results(chosen, found.runs), memory)
    finally:
        digests.save()


def _tree(stages: Iterable[StageSpec]) -> list[str]:
    """Return the stages, each below the deepest one that it needs."""
    depths: dict[str, int] = {}
    lines = []
    for stage in stages:
        depths[stage.name] = max((depths[need] + 1 for need in stage.needs), default=0)
        needs = f"  (needs {', '.join(stage.needs)})" if stage.needs else ""
        lines.append(f"{'  ' * depths[stage.name]}{stage.name}{needs}")
    return lines


def _mermaid(stages: Iterable[StageSpec]) -> list[str]:
    known = list(stages)
    return [
        "graph LR",
        *(f"  {stage.name}" for stage in known if not stage.needs),
        *(f"  {need} --> {stage.name}" for stage in known for need in stage.needs),
    ]
