"""Runs a graph of stages: what can run runs at the same time, a failure stops the rest. Called by the pipeline service.

The runner knows neither processes nor use cases: both are handed in as ports. Whoever cancels it gets the cancellation
back once every stage has ended.
"""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from shipway.core.clock import Clock
from shipway.core.errors import GateRefusedError, ShipwayError, UsageError
from shipway.core.ids import ulid
from shipway.core.verdicts import Verdict
from shipway.pipeline.capacity import Capacity
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.keys import lineage_of
from shipway.pipeline.limits import judged
from shipway.pipeline.memory import NoMemory
from shipway.pipeline.model import RunReport, StageEvent, StageOutcome, StageResult, StageState
from shipway.pipeline.ports import BuiltinStage, OutputFactory, Progress, StageContext, StageMemory, StageRunner, Turn
from shipway.pipeline.retries import may_retry
from shipway.pipeline.spec import Resources, StageSpec
from shipway.pipeline.tail import OutputTail

OnFailure = Literal["finish", "cancel"]
_PLENTY = Resources(cpus=1024.0, memory_mb=2**31, gpus=0)


def _unheard(_event: StageEvent) -> None:
    """Let an event pass: the default listener."""


def _unkept(_stage: StageSpec, _attempt: int) -> OutputTail:
    """Return a tail that is kept nowhere: the default output."""
    return OutputTail()


@dataclass(frozen=True, slots=True)
class PipelineRunner:
    """Runs pipelines.

    `builtins` are the use cases by the name that `uses` gives. After a failure no stage is started any more; those that
    run are finished, or with `on_failure` "cancel" ended at once. Stages run at the same time as far as `max_parallel`
    and `capacity`, what the machine has, allow.
    """

    commands: StageRunner
    builtins: Mapping[str, BuiltinStage]
    clock: Clock
    max_parallel: int = 4
    capacity: Resources = _PLENTY
    on_failure: OnFailure = "finish"
    progress: Progress = _unheard
    output: OutputFactory = _unkept
    memory: StageMemory = field(default_factory=NoMemory)
    shard: str = "1/1"

    async def run(
        self, graph: StageGraph, settled: Mapping[str, StageResult] | None = None, run_id: str = ""
    ) -> RunReport:
        """Run all stages and report on each; those in `settled` have their result already.

        Raises:
            UsageError: a stage uses a built-in that is not there or needs more than the machine has, or `max_parallel`
                is below 1.
        """
        known = dict(settled or {})
        self._check([stage for name, stage in graph.stages.items() if name not in known])
        started_at_s, started_s = self.clock.now_s(), self.clock.monotonic_s()
        run_id = run_id or ulid(started_at_s)
        async with anyio.create_task_group() as group:
            run = _Run(self, graph, run_id, group, graph.sorter(), Capacity(self.capacity), known)
            run.start_ready()
        results = tuple(run.results[name] for name in graph.stages)
        return RunReport(run_id, started_at_s, self.clock.monotonic_s() - started_s, results)

    def _check(self, stages: list[StageSpec]) -> None:
        if self.max_parallel < 1:
            raise UsageError(f"max_parallel is {self.max_parallel}; at least one stage must be able to run")
        capacity = Capacity(self.capacity)
        for stage in stages:
            if stage.uses is not None and stage.uses not in self.builtins:
                known = ", ".join(sorted(self.builtins)) or "none"
                raise UsageError(f"pipeline.{stage.name}.uses: {stage.uses!r} is not built in (there are: {known})")
            lacking = capacity.lacking(stage.resources)
            if lacking:
                raise UsageError(
                    f"pipeline.{stage.name}.resources: {lacking}",
                    hint="run it where there is more, or leave it out: `shipway pipeline run --until NAME`",
                )


@dataclass(slots=True)
class _Run:
    """One run under way."""

    plan: PipelineRunner
    graph: StageGraph
    run_id: str
    group: TaskGroup
    sorter: TopologicalSorter[str]
    capacity: Capacity
    settled: Mapping[str, StageResult]
    results: dict[str, StageResult] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    running: dict[str, anyio.CancelScope] = field(default_factory=dict)
    stopped_by: str = ""

    def start_ready(self) -> None:
        """Start what can start and settle what never will."""
        self._settle_ready()
        while (name := self._next()) is not None:
            self.ready.remove(name)
            stage = self.graph.stages[name]
            gpus = self.capacity.take(stage.resources)
            self.running[name] = anyio.CancelScope()
            self.group.start_soon(self._keep, stage, gpus, name=f"stage {name}")

    def _settle_ready(self) -> None:
        """Take in what has become ready, and settle what has its result already or never will run."""
        while fresh := sorted(self.sorter.get_ready(), key=self.graph.rank.__getitem__):
            for name in fresh:
                reason = "" if name in self.settled else self._why_not(self.graph.stages[name])
                if name in self.settled:
                    self._settle(self.settled[name])
                elif reason:
                    self._settle(StageResult(name, StageState.SKIPPED, problem=reason))
                else:
                    insort(self.ready, name, key=self.graph.rank.__getitem__)
        if self.stopped_by:
            stopped, self.ready = self.ready, []
            for name in stopped:
                self._settle(StageResult(name, StageState.SKIPPED, problem=self._why_not(self.graph.stages[name])))
            if stopped:
                self._settle_ready()

    def _next(self) -> str | None:
        """Return the first stage that is ready and fits what is free; those that need less may overtake."""
        if len(self.running) >= self.plan.max_parallel or self.capacity.exhausted:
            return None
        return next((name for name in self.ready if self.capacity.fits(self.graph.stages[name].resources)), None)

    def _why_not(self, stage: StageSpec) -> str:
        for need in stage.needs:
            if self.results[need].blocks:
                return f"needs {need}, which {_what_became(self.results[need])}"
        return f"not started, because {self.stopped_by} failed" if self.stopped_by else ""

    async def _keep(self, stage: StageSpec, gpus: tuple[int, ...]) -> None:
        started_s = self.plan.clock.monotonic_s()
        result = StageResult(stage.name, StageState.CANCELLED, problem="cancelled")
        try:
            with self.running[stage.name] as scope:
                result = await self._result(stage, gpus)
            if scope.cancelled_caught:
                result = replace(result, problem=f"cancelled, because {self.stopped_by} failed")
        except anyio.get_cancelled_exc_class():
            # The whole run is being cancelled: say so for this stage, start nothing, pass it on.
            self.plan.progress(StageEvent(stage.name, result.state, result=result))
            raise
        del self.running[stage.name]
        self.capacity.give_back(stage.resources, gpus)
        took_s = self.plan.clock.monotonic_s() - started_s
        self._settle(result if result.known else replace(result, duration_s=took_s))
        self.start_ready()

    async def _result(self, stage: StageSpec, gpus: tuple[int, ...]) -> StageResult:
        results = {name: self.results[name] for name in self.graph.ancestors(stage.name)}
        try:
            turn = await self.plan.memory.recall(stage, results)
            if turn.known is not None:
                return turn.known
            try:
                result = await self._attempts(turn, results, gpus)
            except anyio.get_cancelled_exc_class():
                # What it left half done must not pass for an output of the next run.
                with anyio.CancelScope(shield=True):
                    await self.plan.memory.keep(turn, StageResult(stage.name, StageState.CANCELLED))
                raise
            return await self.plan.memory.keep(turn, result)
        except ShipwayError as error:
            return StageResult(
                stage.name, StageState.FAILED, Verdict.ERROR, allowed=stage.allow_failure, problem=str(error)
            )

    async def _attempts(self, turn: Turn, results: Mapping[str, StageResult], gpus: tuple[int, ...]) -> StageResult:
        stage, retried = turn.stage, list[str]()
        while True:
            attempt = len(retried) + 1
            self.plan.progress(
                StageEvent(stage.name, StageState.RUNNING, attempt, problem=retried[-1] if retried else "")
            )
            output = self.plan.output(stage, attempt)
            context = StageContext(self.run_id, attempt, results, output, gpus, self.plan.shard)
            try:
                outcome = await self._attempt(stage, context)
            finally:
                output.close()
            if attempt > stage.retries or not may_retry(stage, outcome):
                return _settled(stage, judged(stage, outcome), context, tuple(retried))
            lasting = await self.plan.memory.again(turn)
            retried.append(f"{outcome.problem}; {lasting}" if lasting else outcome.problem)

    async def _attempt(self, stage: StageSpec, context: StageContext) -> StageOutcome:
        with anyio.move_on_after(stage.timeout_s):
            try:
                if stage.uses is not None:
                    return await self.plan.builtins[stage.uses](stage, context)
                return await self.plan.commands.run(stage, context)
            except GateRefusedError as error:
                return StageOutcome(error.verdict, problem=str(error))
            except ShipwayError as error:
                return StageOutcome(Verdict.ERROR, problem=str(error))
            # A stage is somebody else's code: its defect is that stage's ERROR, not the end of the run and its report.
            except Exception as error:  # noqa: BLE001
                return StageOutcome(Verdict.ERROR, problem=f"unexpected {type(error).__name__}: {error}")
        return StageOutcome(Verdict.ERROR, problem=f"timed out after {stage.timeout_s:g} s", timed_out=True)

    def _settle(self, result: StageResult) -> None:
        needs = {need: self.results[need].lineage for need in self.graph.stages[result.name].needs}
        result = replace(result, lineage=lineage_of(result, needs))
        self.results[result.name] = result
        self.sorter.done(result.name)
        self.plan.progress(StageEvent(result.name, result.state, result.attempts, result))
        if result.state is StageState.FAILED and result.blocks and not self.stopped_by:
            self.stopped_by = result.name
            if self.plan.on_failure == "cancel":
                for scope in self.running.values():
                    scope.cancel()


def _settled(stage: StageSpec, outcome: StageOutcome, context: StageContext, retried: tuple[str, ...]) -> StageResult:
    passed = outcome.verdict is Verdict.PASS
    return StageResult(
        name=stage.name,
        state=StageState.PASSED if passed else StageState.FAILED,
        verdict=outcome.verdict,
        exit_code=outcome.exit_code,
        attempts=context.attempt,
        allowed=stage.allow_failure and not passed,
        outputs=outcome.outputs,
        output_tail=context.output.text(),
        problem=outcome.problem,
        retried=retried,
    )


def _what_became(result: StageResult) -> str:
    match result.state:
        case StageState.SKIPPED:
            return "was skipped"
        case StageState.CANCELLED:
            return "was cancelled"
        case _:
            return "failed"
