"""A stage as defined: data alone. The graph orders stages, the runner runs them, the compilers turn them into jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class When:
    """The circumstances in which a stage runs; an empty field asks for nothing.

    A stage that the circumstances leave out is as if it were not defined: it does not hold back those that need it.
    """

    branches: tuple[str, ...] = ()
    """Patterns of branch names: `main`, `release/*`."""
    events: tuple[str, ...] = ()
    """Some of `config.sections.pipeline.Event`: what started the run."""
    changed: tuple[str, ...] = ()
    """Some of `config.sections.pipeline.Part`: one of these parts of the release must have changed."""
    tiers: tuple[str, ...] = ()
    """Some of `config.sections.pipeline.Tier`."""

    @property
    def always(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.branches or self.events or self.changed or self.tiers)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a stage needs of a machine while it runs, or what a machine has."""

    cpus: float = 1.0
    memory_mb: int = 0
    gpus: int = 0
    gpu_type: str = ""
    """Such as `a100`; for CI runners and clusters."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a metric must reach, must not exceed, or both."""

    metric: str
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage as defined: exactly one of `run` (argv), `uses` (a built-in) and `entry` (`module:function`) is given.

    Paths and globs are relative to the project's folder. A stage with `inputs` promises that nothing else decides what
    comes of it, so its result is kept and given again while they are the same, unless `cache` is false.
    """

    name: str
    run: tuple[str, ...] | None = None
    uses: str | None = None
    needs: tuple[str, ...] = ()
    timeout_s: float = 1800.0
    retries: int = 0
    allow_failure: bool = False
    env: tuple[str, ...] = ()
    """The variables that the command may see beside those that every command sees."""
    entry: str | None = None
    """A function of the project, run in a process of its own with `with_` as its arguments by name."""
    with_: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The options of a built-in, which checks them, or the arguments of `entry`; JSON values."""
    inputs: tuple[str, ...] = ()
    """`!glob` takes files out again; a folder stands for all that is in it."""
    outputs: tuple[str, ...] = ()
    """The files that the stage makes; each pattern must match one afterwards."""
    metrics: str = ""
    """A JSON file that the stage writes; its numbers become outputs under their dotted names."""
    gate: tuple[Limit, ...] = ()
    report: str = ""
    """A file of findings that the stage writes: JUnit, SARIF or JSON."""
    tools: tuple[str, ...] = ()
    """Programs whose version decides the result: a name (asked with --version) or a whole command line."""
    image: str = ""
    """The container image, by digest, in which CI jobs run the stage."""
    retry_on: tuple[str | int, ...] = ()
    """`error`, `fail`, `timeout`, `signal` or exit codes; empty for whatever may be repeated honestly."""
    resources: Resources = Resources()
    when: When = When()
    cache: bool = True
    environment: str = ""
    """The deployment environment of the CI system, which may ask a person for approval first."""
    concurrency: str = ""
    """Runs of stages with the same group wait for each other in CI."""
    shards: int = 1
    """Into how many jobs CI divides the stage; each sees its part as `SHIPWAY_SHARD`, such as `2/4`; here `1/1`."""

    @property
    def does(self) -> str:
        """Return in one line what is run."""
        return self.uses or self.entry or " ".join(self.run or ())
