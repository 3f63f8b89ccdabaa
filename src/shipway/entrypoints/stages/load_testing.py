"""The built-in stages that load the app and break it on purpose; neither is ever taken from an earlier run."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shipway.config.sections.secrets import SecretRef
from shipway.config.sections.section import Section
from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.load_testing"
_KEY = ("SHIPWAY_TARGET_KEY",)


class Load(Section):
    """The options of `load`."""

    plan: Path | None = None
    """A plan of `shipway load`; without one the default profile, 10 to 100 users."""
    url: str = ""
    """The server's address; by default the gateway that runs here, which is started for the stage where none does."""
    model: str = ""
    """The model's name at the address."""
    route: str = ""
    """The project's route; by default the only one."""
    key: SecretRef | None = None
    """Where the API key is; by default the variable SHIPWAY_TARGET_KEY."""
    limits: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Limits instead of the plan's, such as `p99_ms: 5000`."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts beyond this machine that may be loaded."""
    out: Path | None = None
    """Where the whole result is put as JSON; name it in the stage's outputs."""
    junit: Path | None = None
    """Where the limits are put as JUnit XML; name it in the stage's outputs."""


class Chaos(Section):
    """The options of `chaos`."""

    plan: Path | None = None
    """A plan of `shipway chaos`; without one all faults."""
    route: str = ""
    """The route that is asked; by default the first one."""
    key: SecretRef | None = None
    """Where the API key is; by default the variable SHIPWAY_TARGET_KEY."""
    out: Path | None = None
    """Where the result is put as JSON; name it in the stage's outputs."""


STAGES = (
    Builtin(
        "load", f"{_WORK}:load", "Ask as many users would; gives latencies and errors.", Load, env=_KEY, asks="always"
    ),
    Builtin("chaos", f"{_WORK}:chaos", "Break what runs here on purpose; gives what still held.", Chaos, env=_KEY),
)
