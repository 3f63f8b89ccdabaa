"""What a run would do, without doing it: which stages would run and why. `--dry-run` and `pipeline explain` show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shipway.core.errors import ShipwayError
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.keys import differences, lineage_of, need_part, stage_key
from shipway.pipeline.memory import PipelineMemory, cacheable, check_inputs
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.ports import CacheEntry
from shipway.pipeline.spec import StageSpec

_SHOWN = 3
_UNKNOWN = "it has no inputs, so nobody knows what decides it"
_LATER = "known once it has run"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a stage: `runs`, `known` (its result is in the cache), `open`, `left out` or `given`.

    `open` is what depends on what a stage before it gives, which nobody knows before it has run: all else that decides
    the stage is as it was when it passed.
    """

    stage: str
    state: str
    reasons: tuple[str, ...] = ()
    key: str = ""
    """Empty as long as a part of it is not known."""
    parts: Mapping[str, str] | None = None
    waits_for: tuple[str, ...] = ()
    """The nearest stages before it that may run and whose results are not known yet."""
    notes: tuple[str, ...] = ()
    """What a person should know of its inputs."""


async def forecast(graph: StageGraph, settled: Mapping[str, StageResult], memory: PipelineMemory) -> list[Forecast]:
    """Return what a run would do with each stage, in running order."""
    looking = _Looking(graph, memory)
    for name, stage in graph.stages.items():
        if name in settled:
            state = "left out" if settled[name].state is StageState.SKIPPED else "given"
            said = settled[name].problem or f"from run {settled[name].known}"
            looking.note(stage, settled[name], Forecast(name, state, (said,)))
        else:
            result, seen = await looking.at(stage)
            looking.note(
                stage, result, replace(seen, notes=await memory.advice(stage, seen.parts or {}, settled=bool(seen.key)))
            )
    return list(looking.seen.values())


@dataclass(slots=True)
class _Looking:
    """What is known of the stages so far."""

    graph: StageGraph
    memory: PipelineMemory
    seen: dict[str, Forecast] = field(default_factory=dict)
    results: dict[str, StageResult] = field(default_factory=dict)
    before: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The stages that would run before or as a stage and decide what those after it are given."""
    kept: Sequence[CacheEntry] | None = None

    def note(self, stage: StageSpec, result: StageResult | None, seen: Forecast) -> None:
        """Take in what would become of a stage."""
        self.seen[stage.name] = seen
        behind = self._behind(stage)
        if result is None:
            self.before[stage.name] = (*behind, stage.name) if seen.state == "runs" else behind
        elif behind:
            self.before[stage.name] = behind
        else:
            lineages = {need: self.results[need].lineage for need in stage.needs}
            self.results[stage.name] = replace(result, lineage=lineage_of(result, lineages))

    async def at(self, stage: StageSpec) -> tuple[StageResult | None, Forecast]:
        """Return what would become of a stage, and its result if that is known."""
        unknown = tuple(need_part(need) for need in stage.needs if need not in self.results)
        waits_for = self._awaited(stage)
        try:
            parts = await self.memory.parts(stage, self.results)
            if not unknown:
                check_inputs(stage, parts)
        except ShipwayError as error:
            return None, Forecast(stage.name, "runs", (f"cannot be told: {error}",), waits_for=waits_for)
        shown = parts | dict.fromkeys(unknown, _LATER)
        seen = Forecast(stage.name, "runs", (), "" if unknown else stage_key(parts), shown, waits_for)
        if not cacheable(stage):
            return None, replace(seen, reasons=(_why_never_kept(stage),))
        if not self.memory.read_cache:
            return None, replace(seen, reasons=("the cache is not asked",))
        if unknown:
            return None, await self._waiting(stage, parts, unknown, seen)
        entry = await self.memory.cache.find(seen.key)
        if entry is None:
            return None, replace(seen, reasons=await self._changes(stage, parts, ()))
        return await self._found(stage, entry, seen)

    async def _found(self, stage: StageSpec, entry: CacheEntry, seen: Forecast) -> tuple[StageResult | None, Forecast]:
        changed = await self.memory.obstacles(stage, entry)
        if not changed:
            return entry.result, replace(seen, state="known", reasons=("nothing that decides it has changed",))
        said = f"{', '.join(changed[:_SHOWN])} changed where its outputs are, and not by the stage"
        return None, replace(seen, reasons=(said,))

    async def _waiting(
        self, stage: StageSpec, parts: Mapping[str, str], unknown: tuple[str, ...], seen: Forecast
    ) -> Forecast:
        """Return what is known of a stage before those that it needs have run.

        Whatever these give, it runs when no result fits all the rest.
        """
        if self.kept is None:
            self.kept = await self.memory.cache.entries()
        if not any(_fits(entry, parts, unknown) for entry in self.kept):
            return replace(seen, reasons=await self._changes(stage, parts, unknown))
        latest = await self.memory.cache.latest(stage.name)
        is_latest = latest is not None and _fits(latest, parts, unknown)
        same = "nothing else that decides it has changed" if is_latest else "all else is as it was for an older result"
        # What a stage hands on holds what all those before it handed on.
        behind = self._behind(stage)
        words = ("gives", "it") if len(behind) == 1 else ("give", "they")
        said = f"runs unless {' and '.join(behind)} {words[0]} what {words[1]} gave before: {same}"
        return replace(seen, state="open", reasons=(said, *map(self._first, behind)))

    async def _changes(self, stage: StageSpec, parts: Mapping[str, str], unknown: tuple[str, ...]) -> tuple[str, ...]:
        latest = await self.memory.cache.latest(stage.name)
        if latest is None:
            return ("it has not passed before",)
        told = tuple(differences(_without(latest.parts, unknown), parts))
        return told or ("no result that is kept fits",)

    def _behind(self, stage: StageSpec) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for need in stage.needs for name in self.before.get(need, ())))

    def _awaited(self, stage: StageSpec) -> tuple[str, ...]:
        """Return the stages whose results decide, past those that do not run themselves."""
        found: dict[str, None] = {}
        for need in (need for need in stage.needs if need not in self.results):
            passed_over = self.seen[need].state in {"left out", "given"}
            found |= dict.fromkeys(self._awaited(self.graph.stages[need]) if passed_over else (need,))
        return tuple(found)

    def _first(self, name: str) -> str:
        reasons = self.seen[name].reasons
        more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        return f"{name} runs before it: {', '.join(reasons[:_SHOWN])}{more}"


def _fits(entry: CacheEntry, parts: Mapping[str, str], unknown: tuple[str, ...]) -> bool:
    return all(name in entry.parts for name in unknown) and _without(entry.parts, unknown) == dict(parts)


def _without(parts: Mapping[str, str], unknown: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in parts.items() if name not in unknown}


def _why_never_kept(stage: StageSpec) -> str:
    if stage.uses is not None and not stage.cache:
        return "its result is never kept"
    return "its result is never kept: cache is false" if stage.inputs else _UNKNOWN
