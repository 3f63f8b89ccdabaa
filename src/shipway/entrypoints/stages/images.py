"""The built-in stages for images and what is in them."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.entrypoints.stages.quality import Words
from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.images"


class Image(Section):
    """The options of `image`."""

    repository: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._/:-]*[a-z0-9]$")]
    """Where the image belongs, such as registry.example.com/team/app; without a tag."""
    builder: Literal["auto", "buildctl", "docker", "buildah", "kaniko"] = "auto"
    """The program that builds; by default the first that is found."""
    dockerfile: str = "Dockerfile"
    """The Dockerfile."""
    context: str = "."
    """The folder that the build sees."""
    target: str = ""
    """The stage of the Dockerfile."""
    platforms: Words = ()
    """Such as linux/amd64."""
    build_args: dict[str, str] = Field(default_factory=dict)
    """Arguments of the build; they stand in the image's history, so that no secret belongs here."""
    build_secrets: dict[str, str] = Field(default_factory=dict)
    """Secrets of the build by name, each env:NAME or file:PATH; kaniko cannot have any."""
    push: bool = False
    """Push the image to its registry; the builder's own login is used."""
    arguments: Words = ()
    """More arguments for the builder."""


class Sbom(Section):
    """The options of `sbom`."""

    out: Annotated[str, Field(min_length=1)] = "dist/sbom.cdx.json"
    """The CycloneDX file that is written; name it in the stage's outputs."""
    tool: Literal["auto", "cyclonedx-py", "syft"] = "auto"
    """The program that lists the components; by default the first that is found."""
    source: str = "environment"
    """`environment`, a file of requirements, or with syft an image or folder."""


STAGES = (
    # Never kept: a registry forgets, and what a build fetches changes.
    Builtin("image", f"{_WORK}:image", "Build an image, push it, and record its digest.", Image),
    Builtin("sbom", f"{_WORK}:sbom", "List the components as a CycloneDX file.", Sbom),
)
