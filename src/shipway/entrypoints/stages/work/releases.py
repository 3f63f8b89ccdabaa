"""The release, rollout and evaluation that earlier stages of a run made."""

from shipway.core.errors import UsageError
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec


def release_of(stage: StageSpec, context: StageContext) -> str:
    """Return the release of this run.

    Raises:
        UsageError: no stage before this one made one.
    """
    return made(stage, context, "release", "release")


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
