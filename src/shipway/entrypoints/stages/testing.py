"""The built-in stage that runs tests; used once for unit tests and once more for those of another kind."""

from typing import Annotated, Literal

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.entrypoints.stages.quality import Words
from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.testing"


class Tests(Section):
    """The options of `tests`."""

    paths: Words = ()
    """Files and folders; without any, those of pytest's own settings."""
    markers: str = ""
    """An expression of markers, such as `integration` or `not slow`."""
    arguments: Words = ()
    """More arguments for pytest."""
    cover: Words = ()
    """Folders or packages whose coverage is measured; needs pytest-cov."""
    coverage_min: Annotated[float, Field(ge=0, le=100)] | None = None
    """The least share of lines that must be run, in percent."""
    junit: str = ""
    """Where the JUnit file is put as well; name it in the stage's outputs."""
    cobertura: str = ""
    """Where the coverage file is put as well; name it in the stage's outputs."""


class Integration(Tests):
    """The options of `integration`."""

    markers: str = "integration"
    """An expression of markers, such as `integration` or `not slow`."""
    beside: tuple[Literal["redis", "mock-llm"], ...] = ("redis", "mock-llm")
    """Servers on loopback for as long as the tests run; REDIS_URL, OPENAI_BASE_URL, SHIPWAY_MOCK_LLM_URL name them."""
    network: bool = False
    """Whether tests may reach the network; without it clients that obey proxy variables reach nothing."""


STAGES = (
    Builtin(
        "tests",
        f"{_WORK}:tests",
        "pytest, with coverage.",
        Tests,
        cacheable=True,
        inputs=("**/*", "!reports/**"),
        tools=("pytest",),
    ),
    # Not kept: the servers are no part of a key.
    Builtin("integration", f"{_WORK}:integration", "pytest beside a real Redis and a model that repeats.", Integration),
)
