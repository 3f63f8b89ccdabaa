"""`shipway pipeline run-stage`: one stage of the plan, as the job of a CI system runs it."""

import codecs
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import anyio
import typer

from shipway import __version__
from shipway.adapters.pipeline_store.lock import job_beside_no_run
from shipway.entrypoints.cli import pipeline_options as options
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.pipeline_parts import Pipelines, RunChoices
from shipway.entrypoints.wiring import load
from shipway.pipeline.model import RunReport, StageEvent, StageResult
from shipway.pipeline.plan import plan_digest as digest_of_plan
from shipway.pipeline.render import progress_line
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tail import OutputTail
from shipway.services.pipeline_jobs import JobResults, check_shard, job_plan
from shipway.services.pipeline_runs import provide_files


class _Streamed(OutputTail):
    """What a stage prints goes to the job's log as it comes."""

    def __init__(self) -> None:
        super().__init__()
        # A character may come in two pieces.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> None:
        """Add to the end."""
        super().feed(data)
        typer.echo(self._decoder.decode(data), err=True, nl=False)


def run_stage(
    name: Annotated[str, typer.Argument(help="The stage.")],
    plan_digest: Annotated[
        str | None, typer.Option("--plan-digest", metavar="SHA", help="Refuse unless the plan has this digest.")
    ] = None,
    shard: Annotated[str, typer.Option("--shard", metavar="I/N", help="This job's part of the stage.")] = "1/1",
    *,
    no_cache: options.NoCache = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run one stage with the results that the stages before it left in .shipway/pipeline/results.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA; 2 when the plan is another one.
    """
    del debug
    found = Pipelines.of(load(project))
    results = JobResults(found.folder / "results", digest_of_plan(found.graph, __version__))
    check_shard(found.graph, name, shard)
    plan = job_plan(found.graph, name, plan_digest, results, __version__)
    # Jobs of one folder may run beside one another, and none beside a whole run.
    with job_beside_no_run(found.folder / "lock"):
        report = anyio.run(_run, found, plan, RunChoices(not no_cache, shard=shard), not as_json)
        result = next(item for item in report.results if item.name == name)
        results.write(result)
    emit(result.to_dict(), [progress_line(StageEvent(name, result.state, result=result))], as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[report.verdict])


async def _run(found: Pipelines, plan: Mapping[str, StageResult], choices: RunChoices, shown: bool) -> RunReport:
    def output(_stage: StageSpec, _attempt: int) -> OutputTail:
        return _Streamed() if shown else OutputTail()

    def tell(event: StageEvent) -> None:
        if shown and event.result is None:
            typer.echo(progress_line(event), err=True)

    async with found.run_parts(choices, tell) as parts:
        memory = parts.memory({})
        # Of a divided stage only the result of one job is there.
        whole = {name: result for name, result in plan.items() if found.graph.stages[name].shards == 1}
        await provide_files(found.graph, whole, memory)
        runner = replace(parts.runner, progress=tell, output=output, memory=memory)
        return await runner.run(found.graph, plan)
