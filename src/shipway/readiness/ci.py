"""The jobs of CI systems in one shape: when they run, what they run, and what cannot be told.

Checks call it. GitHub Actions and GitLab CI are read; of other systems only that they are there.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from posixpath import normpath

from shipway.config.sections.pipeline import Circumstances, Stage
from shipway.core.errors import ConfigError
from shipway.readiness.ci_github import github_jobs
from shipway.readiness.ci_gitlab import gitlab_jobs
from shipway.readiness.ci_model import MAIN_BRANCHES, Event, Job
from shipway.readiness.facts import Facts, GitFacts, Repository
from shipway.readiness.makefile import recipe
from shipway.readiness.model import Evidence, Source, UndecidedError
from shipway.readiness.shell import Command, commands, plain_argv

_OTHERS = (
    ".circleci/config.yml",
    "Jenkinsfile",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    ".drone.yml",
    ".buildkite/pipeline.yml",
    ".travis.yml",
    "cloudbuild.yaml",
)
_OPAQUE = {
    "tox",
    "nox",
    "just",
    "task",
    "npm",
    "yarn",
    "pnpm",
    "invoke",
    "hatch",
    "act",
    "dagger",
    "bazel",
    "pre-commit",
}
_DEEPEST = 4
_BUILTIN = {
    "evaluate": ("shipway", "eval", "run"),
    "deploy": ("shipway", "deploy"),
    "release": ("shipway", "release", "create"),
    "rag-build": ("shipway", "rag", "build"),
    "lint": ("ruff", "check"),
    "types": ("mypy",),
}
# What these do is no check's question.
_OTHER_BUILTINS = frozenset(
    {"format", "black", "security", "complexity", "radon", "docs", "interrogate", "secrets", "dependencies"}
    | {"infrastructure"}
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command that a job surely runs, and where it is written."""

    job: Job
    command: Command
    where: str
    source: Source = Source.REPOSITORY

    def evidence(self) -> tuple[Evidence, ...]:
        """Return the job and, where it is written elsewhere, the command."""
        told = Evidence(self.source, self.where, f"`{self.command}`")
        at = f"{self.job.path}:{self.job.line}"
        runs = ", ".join(sorted(event.value for event in self.job.events))
        return (Evidence(Source.REPOSITORY, at, f"job {self.job.name} runs on {runs}"), told)


@dataclass(frozen=True, slots=True)
class Ci:
    """Every job, with what each runs unfolded: Makefile targets, scripts, `shipway pipeline run`."""

    jobs: tuple[Job, ...]
    steps: tuple[Step, ...]
    unclear: tuple[str, ...]
    """What may run the thing that is looked for, and was not read."""

    def on(self, event: Event) -> tuple[Step, ...]:
        """Return the steps of jobs that run at an event."""
        return tuple(step for step in self.steps if event in step.job.events)


def ci_of(facts: Facts) -> Ci:
    """Return the CI of a repository.

    Raises:
        UndecidedError: nothing could be looked at.
    """
    repository = facts.the_repository()
    jobs: list[Job] = []
    unclear = [f"{path} is not read" for path in _OTHERS if path in repository.paths]
    if isinstance(facts.git, GitFacts) and facts.git.prefix:
        unclear.append("the project is a folder of a larger repository, whose CI files are not read")
    for path, read in _files(repository):
        text = repository.text(path)
        try:
            jobs += read(path, text or "")
        except ConfigError as error:
            unclear.append(f"{path} cannot be read: {error.problems[0]}")
    unfolding = _Unfolding(facts, repository)
    steps = [step for job in jobs for step in unfolding.steps(job)]
    unclear += [f"{job.path}:{job.line} {item}" for job in jobs for item in job.unclear]
    return Ci(tuple(jobs), tuple(steps), (*unclear, *dict.fromkeys(unfolding.unclear)))


def _files(repository: Repository) -> Iterator[tuple[str, Callable[[str, str], Iterator[Job]]]]:
    for path in sorted(repository.paths):
        if re.fullmatch(r"\.github/workflows/[^/]+\.ya?ml", path):
            yield path, github_jobs
        elif path == ".gitlab-ci.yml":
            yield path, gitlab_jobs


class _Unfolding:
    def __init__(self, facts: Facts, repository: Repository) -> None:
        self._facts = facts
        self._repository = repository
        self.unclear: list[str] = []

    def steps(self, job: Job) -> Iterator[Step]:
        for where, command in job.commands:
            yield from self._unfolded(Step(job, command, where), 0)

    def _unfolded(self, step: Step, depth: int) -> Iterator[Step]:
        argv, program = step.command.argv, step.command.program
        if not step.command.counts:
            return
        yield step
        if depth >= _DEEPEST:
            return
        if program == "make":
            yield from self._made(step, depth)
        elif program in {"bash", "sh"} or program.startswith("./"):
            path = normpath(next((word for word in argv[program in {"bash", "sh"} :] if not word.startswith("-")), ""))
            yield from self._script(step, path, depth)
        elif argv[:2] == ("shipway", "pipeline"):
            yield from self._pipeline(step, depth)
        elif program in _OPAQUE:
            self.unclear.append(f"{step.where} runs `{step.command}`, which is not read")

    def _made(self, step: Step, depth: int) -> Iterator[Step]:
        text = self._repository.text("Makefile")
        targets = [word for word in step.command.argv[1:] if not word.startswith("-") and "=" not in word]
        if text is None or "-C" in step.command.argv:
            self.unclear.append(f"{step.where} runs `{step.command}`, and there is no Makefile to read")
            return
        for target in targets:
            lines = recipe(text, target)
            if lines is None:
                self.unclear.append(f"{step.where} runs `make {target}`, which the Makefile does not say plainly")
                continue
            for line, script, ignored in lines:
                if not ignored:
                    yield from self._commands(step, "Makefile", script, line, depth, strict=True)

    def _script(self, step: Step, path: str, depth: int) -> Iterator[Step]:
        text = self._repository.text(path) if path in self._repository.paths else None
        if text is None or (text.startswith("#!") and "sh" not in text.split("\n", 1)[0]):
            self.unclear.append(f"{step.where} runs `{step.command}`, which is not read")
            return
        yield from self._commands(step, path, text, 1, depth, strict="-e" in step.command.argv)

    def _commands(self, step: Step, path: str, script: str, line: int, depth: int, *, strict: bool) -> Iterator[Step]:
        try:
            inner = commands(script, line, strict=strict)
        except ValueError as error:
            self.unclear.append(f"{path}: {error}: not read")
            return
        for command in inner:
            yield from self._unfolded(replace(step, command=command, where=f"{path}:{command.line}"), depth + 1)

    def _pipeline(self, step: Step, depth: int) -> Iterator[Step]:
        argv = step.command.argv
        if argv[2:3] not in {("run",), ("run-stage",)} or "--dry-run" in argv:
            return
        named = argv[3] if argv[2] == "run-stage" and len(argv) > 3 else ""  # noqa: PLR2004
        if argv[2] == "run" and any(word in argv for word in ("--only", "--until", "--from", "--tier")):
            self.unclear.append(f"{step.where} runs a part of the pipeline: `{step.command}`")
            return
        loaded = self._facts.the_settings()
        if not loaded.project.pipeline:
            self.unclear.append(f"{step.where} runs a pipeline that shipway.yaml does not write down")
        for name, stage in loaded.project.pipeline.items():
            if (named and name != named) or stage.allow_failure:
                continue
            where = f"{loaded.nearest_place(('pipeline', name))} pipeline.{name}"
            job = replace(step.job, events=_reached(stage.when, step.job.events))
            inner = replace(step, job=job, where=where, source=Source.SETTINGS)
            if stage.when.changed or stage.when.tiers:
                self.unclear.append(f"{where} runs only for some changes or tiers")
            elif stage.run is not None:
                yield from self._unfolded(replace(inner, command=Command(plain_argv(list(stage.run)), 1)), depth + 1)
            elif (meant := _builtin(stage)) is not None:
                yield replace(inner, command=Command(meant, 1))
            elif stage.uses not in _OTHER_BUILTINS:
                self.unclear.append(f"{where} runs {stage.uses or stage.entry}, which is not read")


def _builtin(stage: Stage) -> tuple[str, ...] | None:
    """Return the command that a built-in stage stands for, as far as checks ask for it."""
    if stage.uses != "tests":
        return _BUILTIN.get(stage.uses or "")
    options = stage.with_
    marked = ["-m", str(options["markers"])] if options.get("markers") else []
    return ("pytest", *_words(options.get("paths")), *marked, *_words(options.get("arguments")))


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),) if value else ()


def _reached(when: Circumstances, events: frozenset[Event]) -> frozenset[Event]:
    """Return the events at which a stage runs."""
    named = {Event.PULL_REQUEST: "pull_request", Event.MAIN: "push"}
    found = {event for event in events if not when.events or named[event] in when.events}
    if when.branches:
        found &= {Event.MAIN} if MAIN_BRANCHES & set(when.branches) else set()
    return frozenset(found)


def searched(ci: Ci, event: Event | None, found: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps found; none found while something was not read is undecided.

    Raises:
        UndecidedError: nothing was found, and not everything was read.
    """
    steps = tuple(found)
    if not steps and ci.unclear:
        when = f" on {event.value}" if event else ""
        raise UndecidedError(
            f"not seen{when}, but {ci.unclear[0]}" + (f" (and {len(ci.unclear) - 1} more)" if ci.unclear[1:] else ""),
            "call the tool itself in the job, or attest it",
        )
    return steps
