"""Runs a graph of stages: what can run runs at the same time, a failure stops the rest. Called by the pipeline service.

The runner knows neither processes nor use cases: both are handed in as ports. Whoever cancels it gets the cancellation
back once every stage has ended.
"""

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
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.model import RunReport, StageEvent, StageOutcome, StageResult, StageSpec, StageState
from shipway.pipeline.ports import BuiltinStage, Progress, StageContext, StageRunner

OnFailure = Literal["finish", "cancel"]


def _unheard(_event: StageEvent) -> None:
    """Let an event pass: the default listener."""


@dataclass(frozen=True, slots=True)
class PipelineRunner:
    """Runs pipelines.

    `builtins` are the use cases by the name that `uses` gives. After a failure no stage is started any more; those that
    run are finished, or with `on_failure` "cancel" ended at once.
    """

    commands: StageRunner
    builtins: Mapping[str, BuiltinStage]
    clock: Clock
    max_parallel: int = 4
    on_failure: OnFailure = "finish"
    progress: Progress = _unheard

    async def run(self, graph: StageGraph) -> RunReport:
        """Run all stages and report on each.

        Raises:
            UsageError: a stage uses a built-in that is not there, or `max_parallel` is below 1.
        """
        if self.max_parallel < 1:
            raise UsageError(f"max_parallel is {self.max_parallel}; at least one stage must be able to run")
        for stage in graph.stages.values():
            if stage.uses is not None and stage.uses not in self.builtins:
                known = ", ".join(sorted(self.builtins)) or "none"
                raise UsageError(f"pipeline.{stage.name}.uses: {stage.uses!r} is not built in (there are: {known})")
        started_at_s, started_s = self.clock.now_s(), self.clock.monotonic_s()
        run_id = ulid(started_at_s)
        async with anyio.create_task_group() as group:
            run = _Run(self, graph, run_id, group, graph.sorter())
            run.start_ready()
        results = tuple(run.results[name] for name in graph.stages)
        return RunReport(run_id, started_at_s, self.clock.monotonic_s() - started_s, results)


@dataclass(slots=True)
class _Run:
    """One run under way."""

    plan: PipelineRunner
    graph: StageGraph
    run_id: str
    group: TaskGroup
    sorter: TopologicalSorter[str]
    results: dict[str, StageResult] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    running: dict[str, anyio.CancelScope] = field(default_factory=dict)
    stopped_by: str = ""

    def start_ready(self) -> None:
        """Start what can start and settle what never will."""
        order = list(self.graph.stages)
        while True:
            self.ready = sorted([*self.ready, *self.sorter.get_ready()], key=order.index)
            if not self.ready or len(self.running) >= self.plan.max_parallel:
                return
            stage = self.graph.stages[self.ready.pop(0)]
            reason = self._why_not(stage)
            if reason:
                self._settle(StageResult(stage.name, StageState.SKIPPED, problem=reason))
            else:
                self.running[stage.name] = anyio.CancelScope()
                self.group.start_soon(self._keep, stage, name=f"stage {stage.name}")

    def _why_not(self, stage: StageSpec) -> str:
        for need in stage.needs:
            if self.results[need].blocks:
                return f"needs {need}, which {_what_became(self.results[need])}"
        return f"not started, because {self.stopped_by} failed" if self.stopped_by else ""

    async def _keep(self, stage: StageSpec) -> None:
        started_s = self.plan.clock.monotonic_s()
        result = StageResult(stage.name, StageState.CANCELLED, problem="cancelled")
        try:
            with self.running[stage.name] as scope:
                result = await self._attempts(stage)
            if scope.cancelled_caught:
                result = replace(result, problem=f"cancelled, because {self.stopped_by} failed")
        except anyio.get_cancelled_exc_class():
            # The whole run is being cancelled: say so for this stage, start nothing, pass it on.
            self.plan.progress(StageEvent(stage.name, result.state, result=result))
            raise
        del self.running[stage.name]
        self._settle(replace(result, duration_s=self.plan.clock.monotonic_s() - started_s))
        self.start_ready()

    async def _attempts(self, stage: StageSpec) -> StageResult:
        results = {name: self.results[name] for name in self.graph.ancestors(stage.name)}
        attempt, problem = 0, ""
        while True:
            attempt += 1
            self.plan.progress(StageEvent(stage.name, StageState.RUNNING, attempt, problem=problem))
            context = StageContext(self.run_id, attempt, results)
            outcome = await self._attempt(stage, context)
            if attempt > stage.retries or not _may_retry(stage, outcome):
                return _result(stage, outcome, context)
            problem = outcome.problem

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
        return StageOutcome(Verdict.ERROR, problem=f"timed out after {stage.timeout_s:g} s")

    def _settle(self, result: StageResult) -> None:
        self.results[result.name] = result
        self.sorter.done(result.name)
        self.plan.progress(StageEvent(result.name, result.state, result.attempts, result))
        if result.state is StageState.FAILED and result.blocks and not self.stopped_by:
            self.stopped_by = result.name
            if self.plan.on_failure == "cancel":
                for scope in self.running.values():
                    scope.cancel()


def _may_retry(stage: StageSpec, outcome: StageOutcome) -> bool:
    """Tell whether another attempt is honest.

    A command may be flaky. The verdict of a gate is not: repeating it until it passes would be no gate, so a built-in
    stage is repeated only when nothing could be measured, and INCONCLUSIVE never.
    """
    if outcome.verdict is Verdict.ERROR:
        return True
    return outcome.verdict is Verdict.FAIL and stage.uses is None


def _result(stage: StageSpec, outcome: StageOutcome, context: StageContext) -> StageResult:
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
    )


def _what_became(result: StageResult) -> str:
    match result.state:
        case StageState.SKIPPED:
            return "was skipped"
        case StageState.CANCELLED:
            return "was cancelled"
        case _:
            return "failed"
