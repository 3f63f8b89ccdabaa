"""The built-in stage that asks for what people have said of a release."""

from typing import Annotated

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.entrypoints.stages.quality import Words
from shipway.pipeline.builtins import Builtin


class Review(Section):
    """The options of `review`."""

    file: Annotated[str, Field(min_length=1)] = "reviews.yaml"
    """A YAML file with the list `reviews`: release, reviewer, at, aspects (each true or false) and a note."""
    aspects: Words = ("tone", "edge_cases", "culture")
    """What must have been looked at and found good."""
    reviewers: Annotated[int, Field(ge=1)] = 1
    """How many different people must have said so of every aspect."""
    release: str = ""
    """A release; by default that of this run."""


STAGES = (
    Builtin(
        "review",
        "shipway.entrypoints.stages.work.review:review",
        "People have looked at the release and found it good.",
        Review,
    ),
)
