"""What pipelines are run with on this machine: processes, files, cache, runs. The commands of `pipeline` build it."""

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from shipway import __version__
from shipway.adapters.local_stage.runner import LocalStageRunner
from shipway.adapters.local_stage.tools import LocalToolbox
from shipway.adapters.pipeline_store.cache import FileStageCache
from shipway.adapters.pipeline_store.files import LocalProjectFiles
from shipway.adapters.pipeline_store.runs import RunFolders
from shipway.adapters.pipeline_store.stat_cache import StatCache
from shipway.config.environment import process_environment
from shipway.config.loading import LoadedProject
from shipway.core.canonical import digest_json
from shipway.core.clock import SystemClock
from shipway.entrypoints.builtin_stages import builtin_stages, catalogue
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.memory import PipelineMemory
from shipway.pipeline.model import StageResult
from shipway.pipeline.ports import Progress
from shipway.pipeline.runner import OnFailure, PipelineRunner
from shipway.pipeline.spec import Resources
from shipway.pipeline.standard.derive import Derived
from shipway.services.pipeline_runs import RunParts
from shipway.services.pipelines import completed, project_pipeline

_GPU_TIMEOUT_S = 10.0
_BYTES_PER_MB = 1_000_000
_FROM_OUTSIDE = "environment variable "


@dataclass(frozen=True, slots=True)
class Pipelines:
    """The pipeline of one project on this machine."""

    loaded: LoadedProject
    graph: StageGraph
    derived: Derived | None = None
    """What the pipeline is from where the project file has none."""

    @classmethod
    def of(cls, loaded: LoadedProject) -> "Pipelines":
        """Return the pipeline of a project.

        Raises:
            UsageError: it cannot be run.
        """
        whole, derived = completed(loaded)
        return cls(whole, project_pipeline(whole, catalogue()), derived)

    @property
    def folder(self) -> Path:
        """Return where everything about pipelines is kept."""
        return self.loaded.root / ".shipway" / "pipeline"

    @property
    def runs(self) -> RunFolders:
        """Return the runs of the project."""
        return RunFolders(self.folder / "runs")

    def digests(self) -> StatCache:
        """Return the digests of files as far as they are known."""
        return StatCache(self.folder / "cache" / "stat.json", time.time_ns)

    def memory(
        self, digests: StatCache, earlier: Mapping[str, StageResult], *, read_cache: bool = True
    ) -> PipelineMemory:
        """Return what is known of stages from before."""
        root, environ = self.loaded.root, process_environment()
        return PipelineMemory(
            files=LocalProjectFiles(root, digests),
            tools=LocalToolbox(root, environ, version_with(self.loaded), digests.digest),
            cache=FileStageCache(self.folder / "cache", root, digests),
            clock=SystemClock(),
            variables=environ,
            read_cache=read_cache,
            earlier=earlier,
        )

    @asynccontextmanager
    async def run_parts(self, choices: "RunChoices", tell: Progress) -> AsyncIterator[RunParts]:
        """Open what a run needs, and let go of it afterwards."""
        digests = self.digests()
        try:
            async with LocalStageRunner(self.loaded.root, process_environment()) as commands:
                runner = PipelineRunner(
                    commands,
                    builtin_stages(self.loaded.root),
                    SystemClock(),
                    max_parallel=choices.jobs or _MOST_STAGES,
                    capacity=machine(choices.jobs, self.graph),
                    on_failure=choices.on_failure,
                    shard=choices.shard,
                )
                yield RunParts(
                    runner,
                    self.runs,
                    lambda earlier: self.memory(digests, earlier, read_cache=choices.read_cache),
                    SystemClock(),
                    __version__,
                    tell,
                )
        finally:
            digests.save()


@dataclass(frozen=True, slots=True)
class RunChoices:
    """How a run is run, as opposed to what; `jobs` 0 is as many as the machine has processors for."""

    read_cache: bool = True
    jobs: int = 0
    on_failure: OnFailure = "finish"
    shard: str = "1/1"


_MOST_STAGES = 1000


def version_with(loaded: LoadedProject) -> str:
    """Return the version of Shipway, with what of its settings is from no file: built-in stages are decided by both."""
    given = {path: place.source for path, place in loaded.places.items() if place.source.startswith(_FROM_OUTSIDE)}
    named = [] if loaded.environment == "local" else [f"in {loaded.environment}"]
    if given:
        values = {
            source: process_environment().get(source.removeprefix(_FROM_OUTSIDE), "") for source in given.values()
        }
        named.append(f"with other settings {digest_json(values)}")
    return " ".join((__version__, *named))


def machine(jobs: int, graph: StageGraph) -> Resources:
    """Return what this machine has; its graphics processors are only counted when a stage asks for some."""
    cpus = float(jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _BYTES_PER_MB
    gpus = _gpus() if any(stage.resources.gpus for stage in graph.stages.values()) else 0
    return Resources(cpus, memory_mb, gpus)


def _gpus() -> int:
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        done = subprocess.run([program, "-L"], capture_output=True, check=False, timeout=_GPU_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return done.stdout.count(b"\nGPU ") + done.stdout.startswith(b"GPU ") if done.returncode == 0 else 0
