"""The built-in stages that ask a running service: contracts, an OpenAPI document, smoke checks, how fast it is."""

from typing import Annotated

from pydantic import Field

from shipway.config.sections.section import Section
from shipway.entrypoints.stages.quality import Words
from shipway.pipeline.builtins import Builtin

_WORK = "shipway.entrypoints.stages.work.services"


class Asking(Section):
    """What all of these stages need."""

    url: str = ""
    """The service's address; without one the app that runs here, which is started for the stage where nothing runs."""
    key_env: str = ""
    """The variable that holds the API key; name it in the stage's env as well."""


class Contract(Asking):
    """The options of `contract`; give exactly one of file and openapi."""

    file: str = ""
    """A YAML file of contracts."""
    openapi: str = ""
    """An OpenAPI 3.0 or 3.1 document instead."""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a request without a whole reply is an ERROR."""
    max_ms: Annotated[float, Field(gt=0)] | None = None
    """How long a reply may take, where the contract does not say it."""
    methods: Words = ()
    """Of an OpenAPI document ask these methods only."""
    skip: Words = ()
    """Operations of the document that are left out."""


class Schemathesis(Asking):
    """The options of `schemathesis`."""

    schema_: Annotated[str, Field(alias="schema", min_length=1)]
    """The OpenAPI document: a file, or a path of the service such as /openapi.json."""
    max_examples: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Requests for each operation and phase."""
    phases: Words = ("examples", "coverage", "fuzzing")
    """What is tried, as schemathesis names it."""
    arguments: Words = ()
    """More arguments for schemathesis."""


class Smoke(Asking):
    """The options of `smoke`."""

    file: str = ""
    """A YAML file of checks; by default evals.smoke, or what fits the app."""
    release: str = ""
    """This release alone; `run` for the release of this run, opened without a gateway where no url is given."""
    route: str = ""
    """Of the default suite ask this route only."""


class Performance(Asking):
    """The options of `performance`; its limits hold for every batch size."""

    model: Annotated[str, Field(min_length=1)]
    """The route or model that is asked."""
    batch: tuple[Annotated[int, Field(ge=1, le=256)], ...] = (1, 4)
    """Requests in flight at once."""
    iterations: Annotated[int, Field(ge=1)] = 20
    """Measured batches of each size."""
    warmups: Annotated[int, Field(ge=0)] = 3
    """Batches of each size that do not count."""
    max_tokens: Annotated[int, Field(ge=1)] = 64
    """Tokens of an answer at most."""
    stream: bool = True
    """Whether answers are streamed; without it there is no time to first token."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds after which a request is an error."""
    p50_ms: Annotated[float, Field(gt=0)] | None = None
    """The most milliseconds of the median."""
    p99_ms: Annotated[float, Field(gt=0)] | None = None
    """The most milliseconds of the 99th percentile."""
    ttft_p99_ms: Annotated[float, Field(gt=0)] | None = None
    """The most milliseconds until the first token, 99th percentile."""
    baseline: str = ""
    """A file of `shipway eval perf --out` to compare with."""
    max_ratio: Annotated[float, Field(ge=1)] | None = None
    """How many times the median of the baseline is allowed."""


# Never kept: a service says something else tomorrow.
STAGES = (
    Builtin("contract", f"{_WORK}:contract", "A service keeps its API contracts.", Contract, asks="always"),
    Builtin(
        "schemathesis",
        f"{_WORK}:schemathesis",
        "A service keeps its OpenAPI document, by schemathesis.",
        Schemathesis,
        asks="always",
    ),
    Builtin(
        "smoke", f"{_WORK}:smoke", "A few questions that tell whether what was deployed works.", Smoke, asks="always"
    ),
    Builtin(
        "performance", f"{_WORK}:performance", "How fast a service answers, within limits.", Performance, asks="always"
    ),
)
