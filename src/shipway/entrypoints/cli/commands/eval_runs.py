"""`shipway eval merge` and `eval rescore`: judge answers that are on disk already."""

from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import typer

from shipway.entrypoints.cli.evaluation_output import finish
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.evaluation_parts import evaluation_targets
from shipway.entrypoints.judge_parts import LocalJudgeParts
from shipway.entrypoints.wiring import opened
from shipway.services.evaluations import Evaluation, EvaluationParts
from shipway.services.kept_runs import merge_runs, rescore_run

_SHOWN_CASES = 5


def merge(
    folders: Annotated[list[Path], typer.Argument(help="The folders of all shards of one run.")],
    out: Annotated[Path | None, typer.Option(help="Keep the whole run in this folder.")] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Put the shards of a run together and judge the whole by the project's gates; nothing is asked.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA.
    """
    del debug

    async def act() -> Evaluation:
        async with opened(project) as app, evaluation_targets(app) as targets:
            return await merge_runs(app, folders, out, targets, EvaluationParts(judge=LocalJudgeParts(app)))

    finish(anyio.run(act), {}, _SHOWN_CASES, as_json=as_json)


def rescore(
    run: Annotated[str, typer.Argument(help="A run, such as run_01h…, or its folder.")],
    *,
    gates: Annotated[bool, typer.Option("--gates/--no-gates", help="Judge, or score alone.")] = True,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Score the answers of a run again, by the present metrics, judge and gates; no release is asked.

    Exit code: 0 PASS, 1 FAIL, 3 ERROR, 4 INCONCLUSIVE or NO_DATA.
    """
    del debug

    async def act() -> Evaluation:
        async with opened(project) as app, evaluation_targets(app) as targets:
            return await rescore_run(app, run, targets, EvaluationParts(judge=LocalJudgeParts(app)), gates=gates)

    finish(anyio.run(act), {}, _SHOWN_CASES, as_json=as_json)
