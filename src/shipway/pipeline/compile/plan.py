"""The neutral form between the pipeline and the file of a CI system: jobs, decided once for all targets.

`services.pipeline_compile` makes it; each target's module writes it down in its system's words or refuses.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from shipway.config.sections.ci import Ci
from shipway.config.sections.pipeline import Event
from shipway.core.errors import ConfigError
from shipway.core.ids import Digest
from shipway.pipeline.compile.carried import IMAGE, NAME, PATH, PATTERN, STAGE, TEXT, VARIABLE, Carried
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.selection import Circumstance, why_not
from shipway.pipeline.spec import Resources, StageSpec, When

ID_TOKEN = "SHIPWAY_ID_TOKEN"  # noqa: S105 - the name of a variable
"""A stage whose `env` names it gets an identity token of the CI system, instead of a stored key."""
EVENTS: tuple[str, ...] = get_args(Event)
USUAL_EVENTS = ("push", "pull_request", "manual")
"""What starts every compiled pipeline; others do when a stage names them."""
RESULTS = ".shipway/pipeline/results"
CACHE = ".shipway/pipeline/cache"
_AROUND_S = 600
"""What a job may take beside its stage: getting a machine ready, checking out, installing, passing files on."""


@dataclass(frozen=True, slots=True)
class Job:
    """One stage as a job. Conditions hold together; an empty one asks for nothing."""

    stage: str
    needs: tuple[str, ...]
    ancestors: tuple[str, ...]
    """All stages whose results and files the job fetches, in running order."""
    events: tuple[str, ...]
    """On which of the plan's events it runs; all of them when it does not matter."""
    branches: tuple[str, ...]
    changed: tuple[str, ...]
    limit_s: int
    """After which the CI system ends the job: above what the runner itself gives the stage."""
    allow_failure: bool
    environment: str
    approval: bool
    concurrency: str
    shards: int
    image: str
    variables: tuple[str, ...]
    identity: bool
    resources: Resources
    files: tuple[str, ...]
    """What the stage makes, as patterns relative to the repository's root."""
    cached: bool
    asks: bool
    """Whether the stage asks models or makes what they answer from: the job installs what that takes."""
    limited: bool
    """Whether some event of the plan leaves it out."""

    @property
    def conditional(self) -> bool:
        """Whether there are circumstances that leave it out."""
        return bool(self.branches or self.changed or self.limited)


@dataclass(frozen=True, slots=True)
class CompilePlan:
    """All that a target needs to write its file."""

    jobs: tuple[Job, ...]
    digest: Digest
    version: str
    events: tuple[str, ...]
    branches: tuple[str, ...]
    """Patterns of the branches whose pushes start the pipeline."""
    ci: Ci
    folder: str = ""
    """The project's folder relative to the repository's root, with / at its end; empty for the root."""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The files that each part of the release is made of, as patterns relative to the repository's root."""
    models: bool = False
    """Whether the project uses models that `shipway models install` brings."""

    def job(self, stage: str) -> Job:
        """Return the job of a stage."""
        return next(job for job in self.jobs if job.stage == stage)

    @property
    def watches_changes(self) -> bool:
        """Whether any job asks what changed."""
        return any(job.changed for job in self.jobs)

    def result_file(self, stage: str) -> str:
        """Return where the job of a stage leaves its result, relative to the repository's root."""
        return f"{self.folder}{RESULTS}/{stage}.json"

    def made(self, job: Job) -> tuple[str, ...]:
        """Return everything that a job hands on: its result, then its files."""
        return (self.result_file(job.stage), *job.files)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a plan comes from: the checked graph, its digest and the settings of the project."""

    graph: StageGraph
    digest: Digest
    version: str
    ci: Ci = field(default_factory=Ci)
    folder: str = ""
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    models: bool = False
    asking: frozenset[str] = frozenset()
    """The stages that ask models, by name."""


def compile_plan(source: Source) -> CompilePlan:
    """Return the jobs of a pipeline.

    Raises:
        ConfigError: a name or path that no CI file should hold, or a stage that nothing would ever start.
    """
    stages = source.graph.stages.values()
    events = _events(source)
    problems = [*_uncarried(source), *_never_started(source, events)]
    if problems:
        raise ConfigError(
            problems, hint="a CI file is read by a shell and by the CI system: only plain text is carried"
        )
    pushed = (pattern for stage in stages if _may_run(stage, "push", source) for pattern in stage.when.branches)
    return CompilePlan(
        jobs=tuple(_job(stage, source, events) for stage in stages),
        digest=source.digest,
        version=source.version,
        events=events,
        branches=tuple(dict.fromkeys((*source.ci.branches, *pushed))),
        ci=source.ci,
        folder=source.folder,
        parts={part: source.parts.get(part, ()) for part in sorted(source.parts)},
        models=source.models,
    )


def reusable(plan: CompilePlan, stage: str) -> CompilePlan:
    """Return the part of a plan that leads to one stage, without conditions: whoever calls it decides when it runs.

    Raises:
        ConfigError: there is no such stage.
    """
    found = next((job for job in plan.jobs if job.stage == stage), None)
    if found is None:
        raise ConfigError([f"--reusable: there is no stage {stage!r}; the pipeline has {_names(plan)}"])
    kept = (*found.ancestors, stage)
    jobs = tuple(_unconditional(job, plan.events) for job in plan.jobs if job.stage in kept)
    return replace(plan, jobs=jobs)


def _names(plan: CompilePlan) -> str:
    return ", ".join(job.stage for job in plan.jobs)


def _unconditional(job: Job, events: tuple[str, ...]) -> Job:
    return replace(job, events=events, branches=(), changed=(), limited=False)


def _job(stage: StageSpec, source: Source, events: tuple[str, ...]) -> Job:
    own = tuple(event for event in events if _may_run(stage, event, source))
    made = dict.fromkeys(filter(None, (*stage.outputs, stage.metrics, stage.report)))
    return Job(
        stage=stage.name,
        needs=stage.needs,
        ancestors=source.graph.ancestors(stage.name),
        events=own,
        branches=stage.when.branches,
        changed=stage.when.changed,
        limit_s=math.ceil(stage.timeout_s * (stage.retries + 1)) + _AROUND_S,
        allow_failure=stage.allow_failure,
        environment=stage.environment,
        approval=stage.environment in source.ci.approvals,
        concurrency=stage.concurrency,
        shards=stage.shards,
        image=stage.image,
        variables=tuple(name for name in stage.env if name != ID_TOKEN),
        identity=ID_TOKEN in stage.env,
        resources=stage.resources,
        files=tuple(source.folder + path for path in made),
        cached=stage.cache and bool(stage.inputs),
        asks=stage.name in source.asking,
        limited=own != events,
    )


def _may_run(stage: StageSpec, event: str, source: Source) -> bool:
    """Tell whether an event starts a stage on some branch after some change; tiers are decided here, by the event."""
    asked = StageSpec(stage.name, when=When(events=stage.when.events, tiers=stage.when.tiers))
    return not why_not(asked, Circumstance(event, tier=source.ci.tiers.get(_event(event), "")))


def _event(name: str) -> Event:
    found: dict[str, Event] = {event: event for event in get_args(Event)}
    return found[name]


def _events(source: Source) -> tuple[str, ...]:
    named = {event for stage in source.graph.stages.values() for event in stage.when.events}
    scheduled = {"schedule"} if source.ci.schedule else set()
    wanted = {*USUAL_EVENTS, *named, *scheduled}
    return tuple(event for event in EVENTS if event in wanted)


def _never_started(source: Source, events: tuple[str, ...]) -> Iterator[str]:
    for stage in source.graph.stages.values():
        where = f"pipeline.{stage.name}"
        if "schedule" in stage.when.events and not source.ci.schedule:
            yield f"{where}.when.events: it runs on schedule, and ci.schedule does not say when that is"
        if not any(_may_run(stage, event, source) for event in events):
            tiers = ", ".join(stage.when.tiers)
            yield f"{where}.when: nothing starts it: ci.tiers gives its events other tiers than {tiers}"
        if stage.when.branches and set(stage.when.events) == {"tag"}:
            yield f"{where}.when.branches: a tag is on no branch, so nothing starts the stage"
        if ID_TOKEN in stage.env and not source.ci.audience:
            yield f"{where}.env: {ID_TOKEN} asks for an identity token, and ci.audience does not say for whom"


def _uncarried(source: Source) -> Iterator[str]:
    found = Carried()
    for stage in source.graph.stages.values():
        where = f"pipeline.{stage.name}"
        found.check("pipeline", (stage.name,), STAGE)
        found.check(f"{where}.env", stage.env, VARIABLE)
        found.check(f"{where}.when.branches", stage.when.branches, PATTERN)
        found.check(f"{where}.outputs", stage.outputs, PATH)
        found.check(f"{where}.metrics", (stage.metrics,), PATH)
        found.check(f"{where}.report", (stage.report,), PATH)
        found.check(f"{where}.image", (stage.image,), IMAGE)
        found.check(f"{where}.environment", (stage.environment,), NAME)
        found.check(f"{where}.concurrency", (stage.concurrency,), NAME)
        found.check(f"{where}.resources.gpu_type", (stage.resources.gpu_type,), NAME)
    ci = source.ci
    found.check("ci.branches", ci.branches, PATTERN)
    found.check("ci.schedule", (ci.schedule,), TEXT)
    found.check("ci.image", (ci.image,), IMAGE)
    found.check("ci.requirements", ci.requirements, PATH)
    found.check("ci.approvals", ci.approvals, NAME)
    for key, value in _ci_texts(ci):
        found.check(f"ci.{key}", (value,), TEXT)
    for kind, labels in ci.gpu_runners.items():
        found.check(f"ci.gpu_runners.{kind}", labels, TEXT)
    found.check("the project's folder", (source.folder,), PATH)
    for part, paths in source.parts.items():
        found.check(f"the files of part {part}", paths, PATH)
    yield from found.problems


def _ci_texts(ci: Ci) -> tuple[tuple[str, str], ...]:
    return (
        ("python", ci.python),
        ("runner", ci.runner),
        ("audience", ci.audience),
        ("repository", ci.repository),
    )
