"""What a run would do, without doing it: which stages would run and why. `--dry-run` and `pipeline explain` show it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from shipway.core.errors import ShipwayError
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.keys import differences, lineage_of, stage_key
from shipway.pipeline.memory import PipelineMemory, cacheable
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.spec import StageSpec


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a stage: `runs`, `known` (its result is in the cache), `open`, `left out` or `given`.

    `open` is what depends on what a stage before it gives, which nobody knows before it has run.
    """

    stage: str
    state: str
    reasons: tuple[str, ...] = ()
    key: str = ""
    parts: Mapping[str, str] | None = None


async def forecast(graph: StageGraph, settled: Mapping[str, StageResult], memory: PipelineMemory) -> list[Forecast]:
    """Return what a run would do with each stage, in running order."""
    results: dict[str, StageResult] = {}
    found: list[Forecast] = []
    # The stages that would run before a stage and decide what it is given.
    undecided: dict[str, set[str]] = {}
    for name, stage in graph.stages.items():
        behind = set().union(*(undecided.get(need, ()) for need in stage.needs))
        result: StageResult | None
        if name in settled:
            state = "left out" if settled[name].state is StageState.SKIPPED else "given"
            said = settled[name].problem or f"from run {settled[name].known}"
            result, seen = settled[name], Forecast(name, state, (said,))
        elif behind and cacheable(stage):
            said = f"depends on what {', '.join(sorted(behind))} gives, which would run before it"
            result, seen = None, Forecast(name, "open", (said,))
        else:
            result, seen = await _look(stage, results, memory)
        if result is None:
            undecided[name] = {*behind, name} if seen.state == "runs" else behind
        elif behind:
            undecided[name] = behind
        else:
            lineages = {need: results[need].lineage for need in stage.needs}
            results[name] = replace(result, lineage=lineage_of(result, lineages))
        found.append(seen)
    return found


async def _look(
    stage: StageSpec, results: Mapping[str, StageResult], memory: PipelineMemory
) -> tuple[StageResult | None, Forecast]:
    try:
        parts = await memory.parts(stage, results)
    except ShipwayError as error:
        return None, Forecast(stage.name, "runs", (f"cannot be told: {error}",))
    key = stage_key(parts)
    if not cacheable(stage):
        return None, Forecast(stage.name, "runs", (_why_never_kept(stage),), key, parts)
    if not memory.read_cache:
        return None, Forecast(stage.name, "runs", ("the cache is not asked",), key, parts)
    entry = await memory.cache.find(key)
    if entry is not None:
        return entry.result, Forecast(stage.name, "known", ("nothing that decides it has changed",), key, parts)
    latest = await memory.cache.latest(stage.name)
    reasons = ("it has not passed before",) if latest is None else tuple(differences(latest.parts, parts))
    return None, Forecast(stage.name, "runs", reasons, key, parts)


def _why_never_kept(stage: StageSpec) -> str:
    if stage.inputs:
        return "its result is never kept: cache is false" if stage.uses is None else "its result is never kept"
    return "it has no inputs, so nobody knows what decides it"
