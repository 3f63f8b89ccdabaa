"""`pipeline`: the stages from commit to production, and `code`: which files are the app's own."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shipway.config.sections.section import Section


class Code(Section):
    """Which files are the app's code: their content is part of the release."""

    paths: tuple[str, ...] = ()
    """Globs relative to the project file."""


class Stage(Section):
    """One stage of the pipeline: a command that the user wrote, or a built-in by name."""

    run: tuple[str, ...] | None = None
    """The command, as a list of arguments; no shell reads it."""
    uses: Literal["rag-build", "release", "evaluate", "deploy"] | None = None
    """A built-in stage instead of a command."""
    needs: tuple[str, ...] = ()
    """The stages that must have passed before."""
    timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds after which the stage is stopped and has failed."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """How often a failed stage is tried again."""
    allow_failure: bool = False
    """A failure of this stage does not fail the run."""
    env: tuple[str, ...] = ()
    """Names of environment variables that the command may see beside PATH, HOME, LANG and TMPDIR."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.run is None) == (self.uses is None):
            raise ValueError("give exactly one of run, uses")
        return self
