"""A project's folder with stages that are functions: real files, a real cache, no process."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from shipway.adapters.pipeline_store.cache import FileStageCache
from shipway.adapters.pipeline_store.files import LocalProjectFiles
from shipway.adapters.pipeline_store.stat_cache import StatCache
from shipway.core.clock import ManualClock
from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.graph import StageGraph, build_graph
from shipway.pipeline.memory import PipelineMemory
from shipway.pipeline.model import RunReport, StageOutcome, StageResult
from shipway.pipeline.ports import StageContext
from shipway.pipeline.runner import PipelineRunner
from shipway.pipeline.spec import StageSpec
from shipway.services.pipeline_runs import provide_files

Act = Callable[[StageContext], Awaitable[StageOutcome | None]]


@dataclass
class FakeTools:
    """Tools that say what they are told to say."""

    versions_by_name: dict[str, str] = field(default_factory=dict)

    async def versions(self, stage: StageSpec) -> dict[str, str]:
        missing = [name for name in stage.tools if name not in self.versions_by_name]
        if missing:
            raise UsageError(f"{missing[0]} is not there")
        return {name: self.versions_by_name[name] for name in stage.tools}


@dataclass
class Project:
    """A folder, its stages and what they do; `ran` are the stages that ran in the last run."""

    root: Path
    stages: tuple[StageSpec, ...]
    acts: dict[str, Act] = field(default_factory=dict)
    tools: FakeTools = field(default_factory=FakeTools)
    variables: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    now_ns: Callable[[], int] = time.time_ns
    cache: str = ".shipway/pipeline/cache"

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, text: str | bytes) -> None:
        self.path(name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    @property
    def graph(self) -> StageGraph:
        return build_graph(self.stages)

    def memory(self, earlier: dict[str, StageResult] | None = None, *, read_cache: bool = True) -> PipelineMemory:
        digests = StatCache(self.root / self.cache / "stat.json", self.now_ns)
        return PipelineMemory(
            LocalProjectFiles(self.root, digests),
            self.tools,
            FileStageCache(self.root / self.cache, self.root, digests),
            ManualClock(),
            self.variables,
            read_cache=read_cache,
            earlier=earlier or {},
        )

    async def run(
        self,
        earlier: dict[str, StageResult] | None = None,
        *,
        read_cache: bool = True,
        settled: dict[str, StageResult] | None = None,
    ) -> RunReport:
        """Run the stages, but those that are settled."""
        self.ran.clear()
        memory = self.memory(earlier, read_cache=read_cache)
        await provide_files(self.graph, settled or {}, memory)
        runner = PipelineRunner(_Commands(self), {}, ManualClock(), memory=memory)
        with anyio.fail_after(30):
            return await runner.run(self.graph, settled)


@dataclass
class _Commands:
    project: Project

    async def run(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        self.project.ran.append(stage.name)
        act = self.project.acts.get(stage.name)
        return (await act(context) if act else None) or StageOutcome(Verdict.PASS, 0)


def result_of(report: RunReport, name: str) -> StageResult:
    """Return what a stage came to."""
    return next(result for result in report.results if result.name == name)
