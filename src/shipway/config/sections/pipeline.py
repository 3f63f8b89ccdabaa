"""`pipeline`: the stages from commit to production, and `code`: which files are the app's own."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from shipway.config.sections.section import Section

Event = Literal["push", "pull_request", "tag", "schedule", "manual", "model_update"]
Tier = Literal["smoke", "pr", "full"]
Part = Literal["code", "prompt", "model", "data", "policy"]
"""The kinds of parts of a release, as `registry.model.PARTS` names them."""
RetryReason = Literal["error", "fail", "timeout", "signal"]

_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_SHOWN = 60
# What `adapters/local_stage` and `pipeline/visible` give every stage; a value from outside would be lost.
_OWN_VARIABLES = frozenset(
    f"SHIPWAY_{name}" for name in ("ATTEMPT", "KEEPER", "OUTPUT", "RESULTS", "RUN", "SHARD", "STAGE", "WITH")
)
_OF_OTHER_STAGES = "SHIPWAY_STAGE_"
_BUILTIN = r"^[a-z][a-z0-9-]{0,62}$"


def _inside(path: str) -> str:
    """Refuse what could name a file outside the project's folder."""
    bare = path.removeprefix("!")
    parts = PurePosixPath(bare).parts
    if not bare.strip() or "\0" in bare:
        raise ValueError("give a path or a pattern like src/**")
    if bare.startswith(("/", "~")) or ".." in parts:
        raise ValueError(f"{path!r} leaves the project's folder; give a path relative to it, without ..")
    if parts[:1] == (".shipway",):
        raise ValueError(f"{path!r} is in the folder where Shipway keeps its own state")
    _check_classes(path)
    return path


def _check_classes(path: str) -> None:
    """Refuse a `[` that opens no class of characters: it would match nothing that anybody means."""
    for part in path.split("/"):
        position = part.find("[")
        while position >= 0:
            end = part.find("]", position + 2)
            inside = part[position + 1 : end].removeprefix("!")
            ranges = re.findall("(.)-(.)", inside, re.DOTALL)
            if end < 0 or any(first > last for first, last in ranges):
                raise ValueError(f"{path!r}: the [ is not closed or its range is empty; [[] stands for a [")
            position = part.find("[", end)


def _made(path: str) -> str:
    if path.startswith("!"):
        raise ValueError(f"{path!r}: only inputs can take files out with '!'")
    if ".git" in (part.lower() for part in PurePosixPath(path).parts):
        raise ValueError(f"{path!r} is in git's own folder, which no stage makes")
    return _inside(path)


def _entry(text: str) -> str:
    if not _ENTRY.fullmatch(text):
        raise ValueError(f"{text!r} is not a module and a function, such as checks.data:main")
    return text


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        # Of NAME=value the value is not repeated: it may be a secret.
        shown = name.partition("=")[0][:_LONGEST_SHOWN]
        given = f"{shown}=…" if "=" in name else shown
        raise ValueError(f"{given!r} is not the name of a variable; env lists names, values come from the environment")
    if name in _OWN_VARIABLES or name.startswith(_OF_OTHER_STAGES):
        raise ValueError(f"{name} is set by the pipeline itself for every stage; take it out")
    return name


Pattern = Annotated[str, AfterValidator(_inside)]
Made = Annotated[str, AfterValidator(_made)]
Variable = Annotated[str, AfterValidator(_variable)]


class Code(Section):
    """Which files are the app's code: their content is part of the release."""

    paths: tuple[str, ...] = ()
    """Globs relative to the project file."""


class MetricLimit(Section):
    """What a metric of a stage must reach, must not exceed, or both."""

    metric: Annotated[str, Field(min_length=1)]
    """The name of a result of the stage, or of a number in its metrics file (dotted)."""
    min: float | None = None
    """The least that passes."""
    max: float | None = None
    """The most that passes."""

    @model_validator(mode="after")
    def _some_limit(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError(f"{self.metric}: give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"{self.metric}: min {self.min:g} is above max {self.max:g}, so nothing passes")
        return self


class StageResources(Section):
    """What a stage needs of a machine while it runs."""

    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    """Processors; stages run at the same time while their sum fits the machine."""
    memory_mb: Annotated[int, Field(ge=0)] = 0
    """Main memory in megabytes; 0 for little."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """Graphics processors of its own."""
    gpu_type: str = ""
    """Such as a100; chooses the runner in CI."""


class Circumstances(Section):
    """When a stage runs; what is left out asks for nothing."""

    branches: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Patterns of branch names: main, release/*."""
    events: tuple[Event, ...] = ()
    """What started the run; by hand it is `manual`."""
    changed: tuple[Part, ...] = ()
    """Parts of the release of which at least one must have changed."""
    tiers: tuple[Tier, ...] = ()
    """The tiers that the stage belongs to."""


class Stage(Section):
    """One stage of the pipeline: a command or function of the project, or a built-in by name."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    run: tuple[str, ...] | None = None
    """The command, as a list of arguments; no shell reads it."""
    uses: Annotated[str, Field(pattern=_BUILTIN)] | None = None
    """A built-in stage instead of a command."""
    entry: Annotated[str, AfterValidator(_entry)] | None = None
    """A Python function of the project instead of a command: module:function, run in a process of its own."""
    with_: Annotated[dict[str, Any], Field(alias="with")] = Field(default_factory=dict)
    """The options of a built-in, or the arguments of the function."""
    needs: tuple[str, ...] = ()
    """The stages that must have passed before."""
    inputs: tuple[Pattern, ...] = ()
    """Globs of the files that decide the result; with them it is kept, and given again while they are the same."""
    outputs: tuple[Made, ...] = ()
    """Globs of the files that the stage makes; writing others is an error of a stage with inputs."""
    metrics: Made | None = None
    """A JSON file that the stage writes; its numbers become results."""
    gate: tuple[MetricLimit, ...] = ()
    """What numbers of the stage must reach."""
    report: Made | None = None
    """A file of findings that the stage writes: JUnit, SARIF or JSON."""
    tools: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Programs whose version decides the result: a name (asked with --version) or a whole command line."""
    image: str = ""
    """The container image, by digest, in which CI jobs run the stage."""
    timeout_s: Annotated[float, Field(gt=0)] = 1800.0
    """Seconds after which the stage is stopped and has failed."""
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    """How often a failed stage is tried again."""
    retry_on: tuple[RetryReason | Annotated[int, Field(ge=1, le=255)], ...] = ()
    """Which failures are tried again: error, fail, timeout, signal or exit codes."""
    allow_failure: bool = False
    """A failure of this stage does not fail the run."""
    env: tuple[Variable, ...] = ()
    """Names of environment variables that the command may see beside PATH, HOME, LANG and TMPDIR."""
    resources: StageResources = StageResources()
    """What the stage needs of a machine while it runs."""
    when: Circumstances = Circumstances()
    """When the stage runs."""
    cache: bool | None = None
    """false runs the stage every time although its inputs are known."""
    environment: str = ""
    """The deployment environment of the CI system, which may ask a person for approval first."""
    concurrency: str = ""
    """Runs of stages with the same group wait for each other in CI."""
    shards: Annotated[int, Field(ge=1, le=256)] = 1
    """Into how many jobs CI divides the stage."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(kind is not None for kind in (self.run, self.uses, self.entry)) != 1:
            raise ValueError("give exactly one of run, uses, entry")
        if self.run is not None and not (self.run and self.run[0]):
            raise ValueError("run: give the command as a list of arguments, such as [python, -m, pytest]")
        if self.with_ and self.run is not None:
            raise ValueError("with: a command has its options in run; `with` is for uses and entry")
        return self

    @model_validator(mode="after")
    def _honest(self) -> Self:
        if self.cache and not self.inputs and self.uses is None:
            raise ValueError("cache: true says nothing without inputs; name the files that decide the result in inputs")
        if self.inputs and all(pattern.startswith("!") for pattern in self.inputs):
            raise ValueError("inputs: these only take files out; name those that decide the result too, such as src")
        if self.uses is not None and "fail" in self.retry_on:
            raise ValueError("retry_on: fail would repeat the verdict of a built-in until it suits")
        if self.retry_on and not self.retries:
            raise ValueError("retry_on: give retries too, which is 0")
        return self
