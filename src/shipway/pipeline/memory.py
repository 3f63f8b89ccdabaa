"""Decides which stages need not run: their result is in the cache, or an interrupted run had it already.

Also holds stages to what they promise: a stage with `inputs` writes its outputs and nothing else, and every output that
is declared appears. The runner calls it before and after each stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shipway.core.clock import Clock
from shipway.core.errors import IntegrityError
from shipway.core.verdicts import Verdict
from shipway.pipeline.keys import Surroundings, key_parts, stage_key
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.patterns import matches_any
from shipway.pipeline.ports import CacheEntry, ProjectFiles, StageCache, Toolbox, Turn
from shipway.pipeline.spec import StageSpec

_SHOWN = 5


class NoMemory:
    """Knows nothing: every stage runs."""

    async def recall(self, stage: StageSpec, results: Mapping[str, StageResult]) -> Turn:
        """Return that nothing is known."""
        del results
        return Turn(stage)

    async def keep(self, turn: Turn, result: StageResult) -> StageResult:
        """Return the result as it is."""
        del turn
        return result


@dataclass(slots=True)
class PipelineMemory:
    """Results of before, and the files that stages read and make."""

    files: ProjectFiles
    tools: Toolbox
    cache: StageCache
    clock: Clock
    variables: Mapping[str, str]
    read_cache: bool = True
    earlier: Mapping[str, StageResult] = field(default_factory=dict)
    """The results of the interrupted run that goes on."""
    running: dict[str, Turn] = field(default_factory=dict)

    async def recall(self, stage: StageSpec, results: Mapping[str, StageResult]) -> Turn:
        """Look for a result of a stage, given those of the stages that it builds on."""
        turn = Turn(stage)
        turn.parts = await self.parts(stage, results)
        turn.key = stage_key(turn.parts)
        self._begin(turn)
        try:
            turn.known = await self._gone_on_with(turn) or await self._cached(turn)
            if turn.known is None:
                await self._look_around(turn)
        finally:
            if turn.known is not None:
                del self.running[stage.name]
        return turn

    def _begin(self, turn: Turn) -> None:
        """Note who is at work at the same time; putting files back from the cache is work too."""
        for other in self.running.values():
            other.beside[turn.stage.name] = turn.stage
        turn.beside = {name: other.stage for name, other in self.running.items()}
        self.running[turn.stage.name] = turn

    async def _look_around(self, turn: Turn) -> None:
        stage = turn.stage
        await self.files.remove(await self._own_products(stage))
        if products(stage):
            turn.products = await self.files.digests(products(stage))
        if stage.inputs:
            turn.watched = await self.files.watched(stage.inputs)

    async def parts(self, stage: StageSpec, results: Mapping[str, StageResult]) -> dict[str, str]:
        """Return everything that decides the result of a stage now."""
        found = Surroundings(
            files=await self.files.digests(stage.inputs) if stage.inputs else {},
            needs={need: results[need].lineage for need in stage.needs if need in results},
            variables={name: self.variables[name] for name in (*stage.env, "LANG") if name in self.variables},
            tools=await self.tools.versions(stage),
        )
        return key_parts(stage, found)

    async def keep(self, turn: Turn, result: StageResult) -> StageResult:
        """Check what a stage left behind, keep it, and return the result with what was found."""
        result = replace(result, key=turn.key)
        try:
            # Whoever begins while this is being looked at was at work at the same time, too.
            written = await self._written_outside(turn) if result.state is StageState.PASSED else ""
        finally:
            self.running.pop(turn.stage.name, None)
        if result.state is not StageState.PASSED:
            return result
        if written:
            return _broken(turn.stage, result, written)
        files = await self.files.digests(products(turn.stage)) if products(turn.stage) else {}
        absent = [
            pattern for pattern in products(turn.stage) if not any(matches_any(path, [pattern]) for path in files)
        ]
        if absent:
            return _broken(
                turn.stage, result, f"passed, but did not make {', '.join(absent)}, which its outputs promise"
            )
        result = replace(result, files=files)
        if cacheable(turn.stage):
            made = tuple(path for path, digest in files.items() if turn.products.get(path) != digest)
            await self.cache.keep(CacheEntry(turn.key, turn.parts, result, self.clock.now_s(), made))
        return result

    async def _gone_on_with(self, turn: Turn) -> StageResult | None:
        result = self.earlier.get(turn.stage.name)
        if result is None or result.key != turn.key or result.blocks or result.state is StageState.SKIPPED:
            return None
        if result.files and not await self._has(result):
            return None
        return result

    async def _has(self, result: StageResult) -> bool:
        if await self.files.digests(list(result.files)) == dict(result.files):
            return True
        entry = await self.cache.find(result.key)
        return entry is not None and await self._restored(entry)

    async def _cached(self, turn: Turn) -> StageResult | None:
        if not self.read_cache or not cacheable(turn.stage):
            return None
        entry = await self.cache.find(turn.key)
        if entry is None:
            return None
        stale = await self._own_products(turn.stage)
        await self.files.remove([path for path in stale if path not in entry.result.files])
        if not await self._restored(entry):
            return None
        return replace(entry.result, known="cache", attempts=0, duration_s=0.0, retried=())

    async def _restored(self, entry: CacheEntry) -> bool:
        try:
            await self.cache.use(entry)
        except IntegrityError:
            return False
        return True

    async def _own_products(self, stage: StageSpec) -> list[str]:
        """Return the files that the stage itself made and nobody changed since: the cache has their content.

        Without removing them a wheel of yesterday would be an output of today, and a stage that makes nothing any more
        would seem to make it.
        """
        if not stage.outputs or not cacheable(stage):
            return []
        entry = await self.cache.latest(stage.name)
        if entry is None or not entry.made:
            return []
        there = await self.files.digests(list(entry.made))
        return [path for path, digest in there.items() if entry.result.files.get(path) == digest]

    async def _written_outside(self, turn: Turn) -> str:
        if turn.watched is None:
            return ""
        now = await self.files.watched(turn.stage.inputs)
        changed = sorted(path for path in {*turn.watched, *now} if turn.watched.get(path) != now.get(path))
        beside = turn.beside.values()
        allowed = [pattern for stage in (turn.stage, *beside) for pattern in products(stage)]
        foreign = [path for path in changed if not matches_any(path, allowed)]
        # A stage without inputs has promised nothing: what it may have written beside this one is not held against
        # this one, as long as this one does not read it.
        if any(not stage.inputs for stage in beside):
            foreign = [path for path in foreign if matches_any(path, turn.stage.inputs)]
        if not foreign:
            return ""
        shown = ", ".join(foreign[:_SHOWN]) + (f" and {len(foreign) - _SHOWN} more" if len(foreign) > _SHOWN else "")
        others = f" ({', '.join(sorted(turn.beside))} ran at the same time)" if turn.beside else ""
        return f"passed, but {shown} changed while it ran and is not among its outputs{others}"


def cacheable(stage: StageSpec) -> bool:
    """Tell whether the result of a stage may be given again."""
    return stage.cache and bool(stage.inputs)


def products(stage: StageSpec) -> tuple[str, ...]:
    """Return the patterns of all that a stage makes."""
    return (*stage.outputs, *((stage.metrics,) if stage.metrics else ()), *((stage.report,) if stage.report else ()))


def _broken(stage: StageSpec, result: StageResult, problem: str) -> StageResult:
    allowed = stage.allow_failure
    return replace(result, state=StageState.FAILED, verdict=Verdict.ERROR, problem=problem, allowed=allowed)
