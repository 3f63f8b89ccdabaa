"""The evaluation of a run, from the stage that made it to those that read it, also where each has a store of its own.

The stage leaves it as a file beside the results that jobs hand on, and says its digest with its results; a stage that
needs it reads the file only where its store does not have the evaluation.
"""

from pathlib import Path

import anyio

from shipway.core.canonical import digest_bytes
from shipway.core.disk import disk_error, explained
from shipway.core.errors import IntegrityError, NotFoundError
from shipway.core.ids import Digest
from shipway.entrypoints.stages.delivery import EVIDENCE
from shipway.pipeline.model import StageResult
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec
from shipway.services.application import Application
from shipway.services.handed_evaluations import HandedEvaluation, handed_on, has_evaluation, read_handed, take_over


async def leave_evaluation(app: Application, stage: StageSpec, release: str, evaluation: str) -> Digest:
    """Write the file of an evaluation for later stages; return its digest.

    Raises:
        StoreError: the disk refuses.
    """
    data = await handed_on(app, release, evaluation)
    path = _file(app, stage.name)
    with explained(path, "cannot be written"):
        await anyio.Path(path.parent).mkdir(parents=True, exist_ok=True)
        await anyio.Path(path).write_bytes(data)
    return digest_bytes(data)


async def handed_evaluation(
    app: Application, stage: StageSpec, context: StageContext, release: str
) -> HandedEvaluation | None:
    """Return the evaluation of this run's release where the store has it not; None where it has, or there is none.

    Raises:
        NotFoundError: neither the store nor the file of the stage that made it is here.
        IntegrityError: the file is not what that stage left.
    """
    made = next(filter(_evaluated, reversed(list(context.results.values()))), None)
    if made is None or made.outputs.get("release") != release:
        return None
    evaluation, digest = str(made.outputs["evaluation"]), str(made.outputs.get("evidence", ""))
    if await has_evaluation(app, release, evaluation):
        return None
    path = _file(app, made.name)
    shown = path.relative_to(app.workspace.root).as_posix()
    try:
        data = await anyio.Path(path).read_bytes()
    except FileNotFoundError:
        raise NotFoundError(
            f"pipeline.{stage.name}: evaluation {evaluation}, which stage {made.name} made, is not in this store, and"
            f" {shown} is not here",
            hint="compile the pipeline again, so that the job fetches it: `shipway pipeline compile`",
        ) from None
    except OSError as error:
        raise disk_error(error, path, "cannot be read") from error
    handed = await read_handed(data, digest, shown)
    if (handed.release, handed.id) != (release, evaluation):
        raise IntegrityError(
            f"{shown} is evaluation {handed.id} of {handed.release}, stage {made.name} made {evaluation} of {release}"
        )
    said = f"evaluation {evaluation}: as stage {made.name} handed it on, for this store does not have it\n"
    context.output.feed(said.encode())
    return handed


async def take_over_evaluation(app: Application, stage: StageSpec, context: StageContext, release: str) -> None:
    """Put the evaluation of this run's release into a store that does not have it.

    Raises:
        NotFoundError: it is not here.
        IntegrityError: it is not what the stage that made it left.
    """
    handed = await handed_evaluation(app, stage, context, release)
    if handed is not None:
        await take_over(app, handed)


def _evaluated(result: StageResult) -> bool:
    return isinstance(result.outputs.get("evaluation"), str)


def _file(app: Application, stage: str) -> Path:
    return app.workspace.root / EVIDENCE.format(stage=stage)
