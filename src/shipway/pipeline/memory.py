"""Decides which stages need not run: their result is in the cache, or an interrupted run had it already.

Also holds stages to what they promise: a stage with `inputs` writes its outputs and nothing else, and every output that
is declared appears. The runner calls it before and after each stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from shipway.core.clock import Clock
from shipway.core.errors import IntegrityError, UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.keys import INPUT_PART, Surroundings, key_parts, stage_key
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.patterns import matches_any
from shipway.pipeline.ports import CacheEntry, Left, ProjectFiles, StageCache, Toolbox, Turn
from shipway.pipeline.spec import StageSpec

_SHOWN = 5
_SCRIPTS = (".py", ".sh", ".bash", ".js", ".mjs", ".ts", ".rb", ".pl", ".r", ".R")


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

    async def again(self, turn: Turn) -> str:
        """Take nothing away."""
        del turn
        return ""

    async def provide(self, stage: StageSpec, result: StageResult) -> None:
        """Look at nothing."""


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
        turn = Turn(stage, results=results)
        turn.parts = await self.parts(stage, results)
        check_inputs(stage, turn.parts)
        turn.notes = input_notes(stage, turn.parts)
        turn.key = stage_key(turn.parts)
        self._begin(turn)
        try:
            turn.known = await self._gone_on_with(turn) or await self._cached(turn)
            if turn.known is None:
                await self._look_around(turn)
        finally:
            if turn.known is not None:
                del self.running[stage.name]
                turn.known = replace(turn.known, notes=turn.notes)
        return turn

    def _begin(self, turn: Turn) -> None:
        """Note who is at work at the same time; putting files back from the cache is work too."""
        for other in self.running.values():
            other.beside[turn.stage.name] = turn.stage
        turn.beside = {name: other.stage for name, other in self.running.items()}
        self.running[turn.stage.name] = turn

    async def _look_around(self, turn: Turn) -> None:
        stage = turn.stage
        if products(stage):
            # A wheel of yesterday would be an output of today, and a stage that makes nothing any more would seem to.
            if cacheable(stage):
                left = (await self.cache.left(stage.name)).created
                await self.files.remove(_unchanged(left, await self.files.digests_of(left)))
            turn.products = await self.files.states(products(stage))
        if stage.inputs:
            turn.watched = await self.files.watched(stage.inputs)

    async def parts(self, stage: StageSpec, results: Mapping[str, StageResult]) -> dict[str, str]:
        """Return everything that decides the result of a stage now.

        Raises:
            UsageError: a declared tool is not there.
        """
        found = Surroundings(
            files=await self.files.digests(stage.inputs) if stage.inputs else {},
            needs={need: results[need].lineage for need in stage.needs if need in results},
            variables={name: self.variables[name] for name in (*stage.env, "LANG") if name in self.variables},
            tools=await self.tools.versions(stage),
        )
        return key_parts(stage, found)

    async def again(self, turn: Turn) -> str:
        """Take away what a failed attempt made, before the next one; returns what could not be undone."""
        made = await self._made(turn)
        # These two are read as what the stage says: a number of the failed attempt must not speak for the next.
        spoken = {turn.stage.metrics, turn.stage.report}.intersection(made.left.changed)
        await self.files.remove([*made.left.created, *spoken])
        spoilt = sorted({*turn.spoilt, *made.left.changed, *made.gone} - spoken)
        turn.spoilt = tuple(spoilt)
        if not spoilt:
            return ""
        lost = f"it changed {_shown(spoilt)}, which cannot be undone"
        return f"{lost}, so the result is not kept" if cacheable(turn.stage) else lost

    async def provide(self, stage: StageSpec, result: StageResult) -> None:
        """See to it that the files of a stage that does not run are as its result says."""
        there = await self.files.digests_of(result.files)
        wrong = [path for path, digest in result.files.items() if _content(there.get(path)) != _content(digest)]
        if not wrong:
            return
        entry = await self.cache.find(result.key) if result.key else None
        if entry is not None and dict(entry.result.files) == dict(result.files):
            left = await self.cache.left(stage.name)
            if not in_the_way(entry, there, left) and await self._restored(_named(entry, stage.name)):
                return
        state = "is not as" if wrong[0] in there else "is gone;"
        when = f" in run {result.known}" if result.known and result.known != "cache" else ""
        raise UsageError(
            f"{_shown(wrong)} {state} stage {stage.name} left it{when}, and what was asked for builds on that",
            hint=f"make it again: `shipway pipeline run --until {stage.name}`",
        )

    async def keep(self, turn: Turn, result: StageResult) -> StageResult:
        """Check what a stage left behind, keep it, and return the result with what was found."""
        result = replace(result, key=turn.key, notes=turn.notes)
        try:
            # Whoever begins while this is being looked at was at work at the same time, too.
            problem = await self._written_outside(turn) if result.state is StageState.PASSED else ""
        finally:
            self.running.pop(turn.stage.name, None)
        try:
            made = await self._made(turn) if products(turn.stage) else _Made()
        except UsageError:
            if result.state is StageState.PASSED:
                raise
            return result
        if result.state is StageState.PASSED:
            problem = problem or made.problem(turn)
            result = _broken(turn.stage, result, problem) if problem else replace(result, files=made.files)
        if not cacheable(turn.stage):
            return result
        if result.state is StageState.PASSED and not turn.spoilt:
            paths = (*made.left.created, *made.left.changed)
            await self.cache.keep(
                CacheEntry(turn.key, turn.parts, result, self.clock.now_s(), paths, made.left_before(turn))
            )
        elif made.left.created or made.left.changed:
            await self.cache.leave(turn.stage.name, made.left)
        return result

    async def _made(self, turn: Turn) -> "_Made":
        before, now = turn.products, await self.files.states(products(turn.stage))
        created = {path: state.digest for path, state in now.items() if path not in before}
        changed = {path: state.digest for path, state in now.items() if path in before and before[path] != state}
        files = {path: state.digest for path, state in now.items()}
        return _Made(files, Left(created, changed), tuple(path for path in before if path not in now))

    async def _gone_on_with(self, turn: Turn) -> StageResult | None:
        result = self.earlier.get(turn.stage.name)
        if result is None or result.key != turn.key or result.blocks or result.state is StageState.SKIPPED:
            return None
        if result.files and not await self._has(result):
            return None
        return result

    async def _has(self, result: StageResult) -> bool:
        there = await self.files.digests_of(result.files)
        if there == dict(result.files):
            return True
        entry = await self.cache.find(result.key)
        if entry is None or in_the_way(entry, there, await self.cache.left(result.name)):
            return False
        return await self._restored(_named(entry, result.name))

    async def _cached(self, turn: Turn) -> StageResult | None:
        if not self.read_cache or not cacheable(turn.stage):
            return None
        entry = await self.cache.find(turn.key)
        if entry is None:
            return None
        entry = _named(entry, turn.stage.name)
        if products(turn.stage) and not await self._made_way(turn.stage, entry):
            return None
        if not await self._restored(entry):
            return None
        return replace(entry.result, known="cache", attempts=0, duration_s=0.0, retried=())

    async def _made_way(self, stage: StageSpec, entry: CacheEntry) -> bool:
        """Remove what the stage left and the entry has not; False where the entry would overwrite what others did."""
        files, left = entry.result.files, await self.cache.left(stage.name)
        there = await self.files.digests_of({**left.created, **files})
        if in_the_way(entry, there, left) or not all(matches_any(path, products(stage)) for path in files):
            return False
        await self.files.remove([path for path in _unchanged(left.created, there) if path not in files])
        return True

    async def obstacles(self, stage: StageSpec, entry: CacheEntry) -> list[str]:
        """Return the files for which a stage runs although its result is kept."""
        if not entry.result.files:
            return []
        there = await self.files.digests_of(entry.result.files)
        return in_the_way(entry, there, await self.cache.left(stage.name))

    async def advice(self, stage: StageSpec, parts: Mapping[str, str], *, settled: bool) -> tuple[str, ...]:
        """Return what a person should know of a stage's inputs; some may still be made if not all is settled."""
        if not cacheable(stage):
            return ()
        named = {str(PurePosixPath(word)) for word in (stage.run or ())[1:] if word.endswith(_SCRIPTS)}
        inside = [path for path in named if not path.startswith("/") and ".." not in PurePosixPath(path).parts]
        scripts = sorted(path for path in await self.files.digests_of(inside) if f"{INPUT_PART}{path}" not in parts)
        said = (f"{path} is run, and no input: a change of it does not run the stage again" for path in scripts)
        return (*(input_notes(stage, parts) if settled else ()), *said)

    async def _restored(self, entry: CacheEntry) -> bool:
        try:
            await self.cache.use(entry)
        except IntegrityError:
            return False
        return True

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
        others = f" ({', '.join(sorted(turn.beside))} ran at the same time)" if turn.beside else ""
        return f"passed, but {_shown(foreign)} changed while it ran and is not among its outputs{others}"


@dataclass(frozen=True, slots=True)
class _Made:
    """What is there after an attempt where a stage makes its outputs."""

    files: Mapping[str, str] = field(default_factory=dict)
    """All of them, with their digests."""
    left: Left = field(default_factory=Left)
    gone: tuple[str, ...] = ()

    def left_before(self, turn: Turn) -> dict[str, str]:
        """Return the digests that files had before they were changed."""
        return {path: turn.products[path].digest for path in self.left.changed}

    def problem(self, turn: Turn) -> str:
        """Return in what a stage that passed does not hold its promise."""
        stage = turn.stage
        absent = [
            pattern for pattern in products(stage) if not any(matches_any(path, [pattern]) for path in self.files)
        ]
        if absent:
            return f"passed, but did not make {', '.join(absent)}, which its outputs promise"
        written = {**self.left.created, **self.left.changed}
        if stage.metrics and stage.uses is None and stage.metrics not in written:
            return f"passed, but left its metrics file {stage.metrics} as it was before"
        touched = {path for path, digest in self.left.changed.items() if digest != turn.products[path].digest}
        for name, result in turn.results.items():
            taken = sorted(touched.union(self.gone).intersection(result.files))
            if taken:
                return f"passed, but changed {_shown(taken)}, which {name} made; write what comes of it to another file"
        return ""


def check_inputs(stage: StageSpec, parts: Mapping[str, str]) -> None:
    """Check that something decides the result of a command: with inputs that match nothing it would be kept for ever.

    Raises:
        UsageError: its inputs match no file at all.
    """
    if cacheable(stage) and stage.uses is None and not any(name.startswith(INPUT_PART) for name in parts):
        raise UsageError(
            f"inputs: no file matches {', '.join(map(repr, stage.inputs))}, so nothing would decide the result;"
            " correct the patterns, or leave inputs out and the stage runs each time"
        )


def input_notes(stage: StageSpec, parts: Mapping[str, str]) -> tuple[str, ...]:
    """Return what a person should know of a command's inputs: the patterns that match no file.

    Those of built-ins name files that a project may have.
    """
    if stage.uses is not None:
        return ()
    files = [name.removeprefix(INPUT_PART) for name in parts if name.startswith(INPUT_PART)]
    patterns = (pattern for pattern in stage.inputs if not pattern.startswith("!"))
    unmatched = [pattern for pattern in patterns if not any(matches_any(path, [pattern]) for path in files)]
    return tuple(f"inputs: {pattern!r} matches no file" for pattern in unmatched)


def in_the_way(entry: CacheEntry, there: Mapping[str, str], left: Left) -> list[str]:
    """Return the files that keep an entry from being used: putting it back would overwrite somebody's work.

    What the stage made must be gone, or as it left it, or as it was when it began; what it found beside it must be as
    it was.
    """
    made, found = set(entry.made), list[str]()
    for path, digest in entry.result.files.items():
        known = {digest}
        if path in made:
            known |= {entry.replaced.get(path, digest), left.created.get(path, digest), left.changed.get(path, digest)}
        if there.get(path, digest if path in made else "") not in known:
            found.append(path)
    return found


def _unchanged(left: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    return [path for path, digest in left.items() if there.get(path) == digest]


def _content(digest: str | None) -> str:
    """Return a digest without the right to run a file, which not every way from job to job carries."""
    return (digest or "").removesuffix("+x")


def _shown(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def _named(entry: CacheEntry, stage: str) -> CacheEntry:
    """Return an entry as that of a stage: two that say the same share one."""
    return replace(entry, result=replace(entry.result, name=stage))


def cacheable(stage: StageSpec) -> bool:
    """Tell whether the result of a stage may be given again."""
    return stage.cache and bool(stage.inputs)


def products(stage: StageSpec) -> tuple[str, ...]:
    """Return the patterns of all that a stage makes."""
    return (*stage.outputs, *((stage.metrics,) if stage.metrics else ()), *((stage.report,) if stage.report else ()))


def _broken(stage: StageSpec, result: StageResult, problem: str) -> StageResult:
    allowed = stage.allow_failure
    return replace(result, state=StageState.FAILED, verdict=Verdict.ERROR, problem=problem, allowed=allowed)
