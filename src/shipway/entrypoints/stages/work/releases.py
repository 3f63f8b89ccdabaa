"""The release, rollout and evaluation that earlier stages of a run made."""

from shipway.core.errors import NotFoundError, UsageError
from shipway.core.ids import ReleaseId
from shipway.entrypoints.corpus_parts import corpora
from shipway.entrypoints.rag_parts import build_parts
from shipway.entrypoints.release_parts import release_parts
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec
from shipway.services.application import Application
from shipway.services.releases import create_release


def release_of(stage: StageSpec, context: StageContext) -> str:
    """Return the release of this run.

    Raises:
        UsageError: no stage before this one made one.
    """
    return made(stage, context, "release", "release")


async def released(app: Application, stage: StageSpec, context: StageContext) -> ReleaseId:
    """Return the release of this run, made once more where a job of its own has not got it: equal content, equal id.

    Raises:
        UsageError: no stage before this one made one, or the files here are not those that it was made of.
    """
    name = release_of(stage, context)
    try:
        return (await app.releases.get(name)).id
    except NotFoundError:
        if app.project.corpus:
            await corpora().build(app, build_parts(app), lambda _done, _total: None)
        again = await create_release(app, release_parts(), message=f"pipeline run {context.run_id}")
    if again.release.id != name:
        raise UsageError(
            f"pipeline.{stage.name}: the files here make {again.release.id}, the stage before made {name}",
            hint="let both jobs check out the same commit, with the same documents and models",
        )
    return again.release.id


def made(stage: StageSpec, context: StageContext, what: str, uses: str) -> str:
    """Return a result of an earlier stage by its name.

    Raises:
        UsageError: no stage before this one has it.
    """
    for result in reversed(list(context.results.values())):
        if isinstance(result.outputs.get(what), str) and result.outputs[what]:
            return str(result.outputs[what])
    raise UsageError(
        f"pipeline.{stage.name}: no stage before it made a {what}", hint=f"let it need a stage with `uses: {uses}`"
    )
