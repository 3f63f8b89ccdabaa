"""`shipway pipeline`: run the stages from commit to production."""

import anyio
import typer

from shipway.adapters.local_stage.runner import LocalStageRunner
from shipway.config.environment import process_environment
from shipway.core.clock import SystemClock
from shipway.core.errors import UsageError
from shipway.entrypoints.builtin_stages import builtin_stages
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption, command_group
from shipway.entrypoints.cli.output import emit, table
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.wiring import load
from shipway.pipeline.graph import build_graph, configured_stages
from shipway.pipeline.model import RunReport, StageEvent
from shipway.pipeline.render import progress_line, summary_lines
from shipway.pipeline.runner import PipelineRunner

group = command_group("Run the stages from commit to production.")


@group.command()
def run(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Run every stage of the project; independent ones at the same time.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA, as the worst stage that may not fail.
    """
    del debug
    loaded = load(project)
    if not loaded.project.pipeline:
        raise UsageError(
            "the project has no pipeline section", hint="add stages to shipway.yaml: run or uses, and needs"
        )

    def show(event: StageEvent) -> None:
        if not as_json:
            typer.echo(progress_line(event), err=True)

    runner = PipelineRunner(
        LocalStageRunner(loaded.root, process_environment()), builtin_stages(project), SystemClock(), progress=show
    )

    async def act() -> RunReport:
        return await runner.run(build_graph(configured_stages(loaded.project.pipeline)))

    report = anyio.run(act)
    emit(report.to_dict(), summary_lines(report), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[report.verdict])


@group.command("list")
def list_stages(*, project: ProjectOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the stages in an order in which they can run."""
    del debug
    graph = build_graph(configured_stages(load(project).project.pipeline))
    rows = [
        {"stage": name, "does": stage.uses or " ".join(stage.run or ()), "needs": list(stage.needs)}
        for name, stage in graph.stages.items()
    ]
    emit(
        rows,
        table(("stage", "does", "needs"), [(r["stage"], r["does"], ",".join(r["needs"])) for r in rows]),
        as_json=as_json,
    )
