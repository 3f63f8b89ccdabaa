"""`shipway pipeline run`: run the stages from commit to production."""

from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Annotated

import anyio
import typer

from shipway.adapters.git.branches import current_branch
from shipway.adapters.pipeline_store.lock import only_run
from shipway.core.errors import StoreError
from shipway.entrypoints.cli import pipeline_options as options
from shipway.entrypoints.cli.commands.pipeline_show import show_forecast
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.cli.pipeline_view import shown_run
from shipway.entrypoints.failures import VERDICT_EXIT_CODES
from shipway.entrypoints.pipeline_parts import Pipelines, RunChoices, machine
from shipway.entrypoints.wiring import load, opened
from shipway.pipeline.model import RunReport
from shipway.pipeline.render import summary_lines
from shipway.services.pipeline_runs import LATEST, RunRequest, expected_durations, record_run, run_pipeline


def run(
    only: options.Only = "",
    start: options.From = "",
    until: options.Until = "",
    tier: options.TierOption = "",
    event: options.EventOption = "manual",
    branch: options.BranchOption = "",
    changed: options.ChangedOption = None,
    since: options.SinceOption = "",
    jobs: options.Jobs = 0,
    resumed_run: Annotated[str, typer.Option("--resume-run", metavar="RUN", help="Go on with this run.")] = "",
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last run that was interrupted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run and why; run nothing.")] = False,
    no_cache: options.NoCache = False,
    fail_fast: options.FailFast = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run the stages of the project; independent ones at the same time, those with a known result not at all.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA, as the worst stage that may not fail.
    """
    del debug
    found = Pipelines.of(load(project))
    changed = options.since(found.loaded, since, changed)
    request = RunRequest(
        options.asked(only, start, until),
        options.circumstance(event, branch or current_branch(found.loaded.root), changed, tier),
        resume=resumed_run or (LATEST if resume else ""),
    )
    if dry_run:
        show_forecast(found, request, read_cache=not no_cache, as_json=as_json)
        return
    if found.derived is not None and not as_json:
        typer.echo("the pipeline is derived from the repository: shipway pipeline list", err=True)
    choices = RunChoices(not no_cache, jobs, "cancel" if fail_fast else "finish")
    try:
        report = anyio.run(_run, found, request, choices, not as_json)
    except KeyboardInterrupt:
        if not as_json:
            typer.echo("go on with it: shipway pipeline run --resume", err=True)
        raise
    emit(report.to_dict(), summary_lines(report), as_json=as_json)
    raise typer.Exit(VERDICT_EXIT_CODES[report.verdict])


async def _run(found: Pipelines, request: RunRequest, choices: RunChoices, shown: bool) -> RunReport:
    expected_s = expected_durations(found.runs) if shown else {}
    parallel = machine(choices.jobs, found.graph).cpus
    with only_run(found.folder / "lock"), shown_run(found.graph, expected_s, parallel, shown=shown) as tell:
        async with found.run_parts(choices, tell) as parts:
            with ExitStack() as held:

                def begun(run_id: str) -> None:
                    held.enter_context(found.runs.get(run_id).worked_on())

                report = await run_pipeline(found.graph, request, replace(parts, begun=begun))
    # The registry is a copy for the console: a store that is locked or full takes nothing from the run.
    with suppress(StoreError):
        async with opened(None, loaded=found.loaded) as app:
            await record_run(app.state.documents, report, str(found.runs.get(report.run_id).plan()["digest"]))
    return report
