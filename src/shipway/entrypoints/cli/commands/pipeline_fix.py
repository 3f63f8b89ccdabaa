"""`shipway pipeline fix`: mend what the stages for lint and format would find."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer

from shipway.adapters.local_stage.tool_run import LocalToolRunner
from shipway.config.environment import process_environment
from shipway.core.errors import NotFoundError, UnavailableError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.pipeline_parts import Pipelines
from shipway.entrypoints.stages.work.quality import MENDING
from shipway.entrypoints.wiring import load
from shipway.pipeline.render import plain
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.tail import OutputTail
from shipway.pipeline.visible import visible_environment


def fix(
    stages: Annotated[list[str] | None, typer.Argument(help="Stages; by default all that can mend.")] = None,
    *,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Change the project's files as far as ruff or black can mend them safely, with the options of the stages."""
    del debug
    found = Pipelines.of(load(project))
    able = {name: stage for name, stage in found.graph.stages.items() if stage.uses in MENDING}
    wanted = stages or list(able)
    unable = [name for name in wanted if name not in able]
    if unable or not wanted:
        what = f"{unable[0]!r} is no such stage" if unable else "no stage is"
        raise NotFoundError(
            f"{what} with `uses` {', '.join(MENDING)}, which can mend",
            hint=f"those that can: {', '.join(able) or 'none'}",
        )
    done = anyio.run(_fixed, found.loaded.root, [able[name] for name in wanted])
    emit(done, [f"{row['stage']}: {line}" for row in done for line in row["said"]], as_json=as_json)


async def _fixed(root: Path, stages: Sequence[StageSpec]) -> list[Mapping[str, Any]]:
    done: list[Mapping[str, Any]] = []
    for stage in stages:
        argv = MENDING[stage.uses or ""](dict(stage.with_))
        runner = LocalToolRunner(root, visible_environment(stage, process_environment(), {}), OutputTail())
        ended = await runner.run(argv)
        said = [plain(line) for line in (ended.stdout.decode(errors="replace") + ended.stderr).splitlines() if line]
        if ended.code != 0:
            raise UnavailableError(
                f"{stage.name}: {argv[0]} ended with {ended.code}: {said[-1] if said else 'no word'}"
            )
        done.append({"stage": stage.name, "said": said or ["nothing to mend"]})
    return done
