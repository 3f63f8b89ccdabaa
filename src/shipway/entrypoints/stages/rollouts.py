"""The built-in stages after a release was judged: staging, canary, and waiting for a rollout's end."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.pipeline.builtins import Builtin

Strategy = Literal["", "canary", "blue-green", "shadow", "rolling", "flag", "swap"]

_WORK = "shipway.entrypoints.stages.work.rollouts"


class Staging(Section):
    """The options of `staging`."""

    environment: Annotated[str, Field(min_length=1)] = "staging"
    """The environment that the project must be set to; anywhere else nothing is deployed."""
    strategy: Strategy = ""
    """A strategy over the project's plan."""
    at_once: bool = False
    """Do not wait out the cooldown after a release was rolled back."""


class Canary(Section):
    """The options of `canary`."""

    strategy: Strategy = "canary"
    """The strategy of the rollout; empty for that of the project's plan."""
    plan: str = ""
    """A file with the plan of the rollout, over the project's section."""
    wait: bool = False
    """Wait for the rollout's end here instead of in a stage `monitor`."""


class Monitor(Section):
    """The options of `monitor`; the stage's timeout_s is how long it waits."""

    rollout: str = ""
    """A rollout; by default that of this run."""
    paused: bool = False
    """A rollout that is paused for a person's decision is PASS here, as a stage of its own promotes it."""


STAGES = (
    Builtin(
        "staging", f"{_WORK}:staging", "Deploy the release of this run in staging and wait.", Staging, asks="always"
    ),
    Builtin("canary", f"{_WORK}:canary", "Begin the rollout of the release of this run.", Canary, asks="always"),
    Builtin("monitor", f"{_WORK}:monitor", "Wait for the rollout's end; its verdict is the stage's.", Monitor),
)
