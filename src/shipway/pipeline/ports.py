"""What the runner of a pipeline needs of the world.

Above: `runner`, which decides what runs when, how often and how long, and `memory`, which decides what need not run.
Below: `adapters/local_stage` for commands and tools, the services behind the built-in stages, `adapters/pipeline_store`
for the project's files and for results of before.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from shipway.pipeline.model import StageEvent, StageOutcome, StageResult
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tail import OutputTail

Progress = Callable[[StageEvent], None]
OutputFactory = Callable[[StageSpec, int], OutputTail]
"""Makes what takes the output of an attempt; attempts count from 1."""


@dataclass(frozen=True, slots=True)
class StageContext:
    """What an attempt may know: the run, its number (from 1) and the results of every stage it depends on.

    Whatever the attempt prints goes to `output`, which outlives an attempt that is cut off.
    """

    run_id: str
    attempt: int
    results: Mapping[str, StageResult]
    output: OutputTail = field(default_factory=OutputTail)
    gpus: tuple[int, ...] = ()
    """The graphics processors that are the stage's alone."""
    shard: str = "1/1"


class StageRunner(Protocol):
    """Runs a stage's command."""

    async def run(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Run one attempt to its end.

        The caller's timeout and cancellation arrive as cancellation: everything that was started must have ended
        before it is passed on.
        """
        ...


class BuiltinStage(Protocol):
    """A use case that a stage names in `uses`."""

    async def __call__(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        """Run one attempt to its end; a ShipwayError is an ERROR, a GateRefusedError its verdict."""
        ...


@dataclass(frozen=True, slots=True)
class FileState:
    """What a file is, and what tells whether it was written again, be it with the same content."""

    digest: str
    stamp: str


@dataclass(frozen=True, slots=True)
class Left:
    """The files that a stage left when it last ran, whatever came of it, with their digests."""

    created: Mapping[str, str] = field(default_factory=dict)
    """Those that were not there before."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """Those that were: somebody else may have made them."""


@dataclass(slots=True)
class Turn:
    """A stage whose turn has come, as a memory sees it; `known` is its result when it need not run."""

    stage: StageSpec
    known: StageResult | None = None
    key: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    watched: Mapping[str, str] | None = None
    """The project's files before the stage ran, where it has promised to write its outputs alone."""
    products: Mapping[str, FileState] = field(default_factory=dict)
    """The files that were there before the stage ran where it makes its outputs."""
    results: Mapping[str, StageResult] = field(default_factory=dict)
    """Those of the stages that it builds on."""
    spoilt: tuple[str, ...] = ()
    """Files that a failed attempt changed: what they were is gone."""
    notes: tuple[str, ...] = ()
    """What a person should know of the stage's definition."""
    beside: dict[str, StageSpec] = field(default_factory=dict)
    """The stages that ran at the same time, by name."""


class StageMemory(Protocol):
    """Knows results of before."""

    async def recall(self, stage: StageSpec, results: Mapping[str, StageResult]) -> Turn:
        """Look for a result of a stage, given those of the stages that it builds on.

        Raises:
            ShipwayError: what decides the result cannot be found out.
        """
        ...

    async def again(self, turn: Turn) -> str:
        """Take away what a failed attempt made, before the next one; returns what could not be undone."""
        ...

    async def keep(self, turn: Turn, result: StageResult) -> StageResult:
        """Check what a stage left behind, keep it, and return the result with what was found."""
        ...

    async def provide(self, stage: StageSpec, result: StageResult) -> None:
        """See to it that the files of a stage that does not run are as its result says.

        Raises:
            UsageError: a file is not, and cannot be put back without taking somebody's work.
        """
        ...


class ProjectFiles(Protocol):
    """The files of the project; paths are relative to its folder, with slashes."""

    async def digests(self, patterns: Sequence[str]) -> dict[str, str]:
        """Return the digests of all files that match, by path; `!pattern` takes files out again."""
        ...

    async def digests_of(self, paths: Collection[str]) -> dict[str, str]:
        """Return the digests of those of these files that are there; signs in a path mean themselves."""
        ...

    async def states(self, patterns: Sequence[str]) -> dict[str, FileState]:
        """Return the states of all files that match, by path."""
        ...

    async def watched(self, patterns: Sequence[str]) -> dict[str, str]:
        """Return what tells a changed file from an unchanged one, for tracked files, new ones and those that match.

        What git ignores is not looked at, unless it matches.
        """
        ...

    async def remove(self, paths: Collection[str]) -> None:
        """Remove files that a stage made."""
        ...


class Toolbox(Protocol):
    """The programs that stages run."""

    async def versions(self, stage: StageSpec) -> dict[str, str]:
        """Return what decides how a stage's programs behave: the interpreter, the command's program, declared tools.

        Raises:
            UsageError: a declared tool is not there or does not say its version.
        """
        ...


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A result that passed, and what decided it."""

    key: str
    parts: Mapping[str, str]
    result: StageResult
    made_at_s: float
    made: tuple[str, ...] = ()
    """Those of its files that the stage itself made or changed: they are stored and put back, no others."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """The digests that those of them had which were there before."""


class StageCache(Protocol):
    """Results by key, with the content of their files."""

    async def find(self, key: str) -> CacheEntry | None:
        """Return the entry of a key; one that cannot be read is none."""
        ...

    async def latest(self, stage: str) -> CacheEntry | None:
        """Return the entry that a stage made or used last."""
        ...

    async def left(self, stage: str) -> Left:
        """Return what a stage left when it last ran or was given its result."""
        ...

    async def leave(self, stage: str, left: Left) -> None:
        """Note what a stage left whose result is not kept."""
        ...

    async def entries(self) -> Sequence[CacheEntry]:
        """Return all entries that can be read, of all stages."""
        ...

    async def keep(self, entry: CacheEntry) -> None:
        """Store an entry and the content of its files, as they are in the project's folder now."""
        ...

    async def use(self, entry: CacheEntry) -> None:
        """Put the files that the stage of an entry made into the project's folder, and note that it was used.

        Raises:
            IntegrityError: the content of a file is gone or not what it was; the entry is dropped.
        """
        ...


class RunRecord(Protocol):
    """What is kept of one run."""

    @property
    def run_id(self) -> str:
        """Return the id of the run; ids sort by age."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        ...

    def plan(self) -> dict[str, Any]:
        """Return what was planned; empty when that cannot be read."""
        ...

    def report(self) -> dict[str, Any]:
        """Return the report; empty when the run was not finished."""
        ...

    def results(self) -> dict[str, StageResult]:
        """Return the last result of each stage."""
        ...

    def append(self, result: StageResult) -> None:
        """Add the result of a stage; whatever happens to the process afterwards, it is there."""
        ...

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write the report."""
        ...

    def output(self, stage: StageSpec, attempt: int) -> OutputTail:
        """Return what takes the output of an attempt."""
        ...


class RunRecords(Protocol):
    """What is kept of all runs of a project."""

    def begin(self, run_id: str, plan: Mapping[str, Any]) -> RunRecord:
        """Begin a run."""
        ...

    def all(self) -> Sequence[RunRecord]:
        """Return the runs, newest first."""
        ...

    def get(self, run_id: str) -> RunRecord:
        """Return a run by its id or the end of it.

        Raises:
            NotFoundError: there is none, or the end is that of several.
        """
        ...

    def remove(self, run: RunRecord) -> None:
        """Remove a run and its logs."""
        ...
