"""`ci`: on what a CI system runs the pipeline; `shipway pipeline compile` reads it."""

from typing import Annotated

from pydantic import AfterValidator, Field

from shipway.config.sections.cron import cron_fields
from shipway.config.sections.pipeline import Event, Made, Tier
from shipway.config.sections.section import Section

Text = Annotated[str, Field(min_length=1, max_length=200)]


class Ci(Section):
    """What the jobs of a CI system need beside the stages."""

    branches: tuple[Text, ...] = ("main",)
    """Patterns of branches whose pushes start the pipeline; those that stages name in `when` are added."""
    schedule: Annotated[str, AfterValidator(cron_fields)] = ""
    """When the pipeline starts by itself: five cron fields in UTC, such as 0 3 * * MON-FRI."""
    tiers: dict[Event, Tier] = Field(default_factory=dict)
    """The tier that an event runs; an event that is not named runs every stage."""
    python: Text = "3.12"
    """The version of Python of jobs without an image."""
    image: Text = "python:3.12-slim"
    """The container image of jobs whose stage names none, where jobs are containers."""
    runner: Text = "ubuntu-24.04"
    """The machine of jobs that need no GPU: a GitHub label, a Jenkins label."""
    gpu_runners: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    """The runner's labels for a GPU: by type, such as a100, or by type and number, such as a100:4; any for no type."""
    requirements: tuple[Made, ...] = ()
    """Requirements files that each job installs before Shipway."""
    approvals: tuple[Text, ...] = ("production",)
    """The deployment environments that a person approves first."""
    artifact_days: Annotated[int, Field(ge=1, le=90)] = 14
    """How long results and files of jobs are kept."""
    repository: str = ""
    """The address that jobs clone, where the CI system does not know it: Argo Workflows."""
    audience: str = ""
    """For whom the identity tokens are that stages with SHIPWAY_ID_TOKEN in env get, such as a cloud's address."""
