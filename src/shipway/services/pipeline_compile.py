"""Compiling a project's pipeline for a CI system, and which parts of a release a set of changed files touches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shipway.config.loading import PROJECT_FILE, LoadedProject
from shipway.config.project import Project
from shipway.core.errors import UsageError
from shipway.pipeline.builtins import Builtin
from shipway.pipeline.compile.drift import drift
from shipway.pipeline.compile.plan import CompilePlan, Source, compile_plan
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.patterns import matches_any
from shipway.pipeline.plan import plan_digest
from shipway.services.models import CATALOGUE

PARTS = ("code", "prompt", "model", "data", "policy")
_BUILT_OF = (
    "**/*.py",
    "Dockerfile",
    ".dockerignore",
    "pyproject.toml",
    "requirements*.txt",
    "requirements/**",
    "*.lock",
)
"""What code is run with, checked by and put into images with; the code of a release is what `code.paths` match."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a pipeline compiles to, and how the file that is there differs from it."""

    path: Path
    text: str
    plan: CompilePlan
    drifted: tuple[str, ...]


def project_plan(
    loaded: LoadedProject, graph: StageGraph, version: str, repository: Path, catalogue: Mapping[str, Builtin]
) -> CompilePlan:
    """Return the jobs of a project's pipeline; `repository` is the folder that a CI job checks out.

    Raises:
        ConfigError: what no CI file can hold.
    """
    folder = loaded.root.resolve().relative_to(repository.resolve()).as_posix()
    prefix = "" if folder == "." else f"{folder}/"
    parts = {part: tuple(prefix + path for path in part_paths(loaded.project, part)) for part in PARTS}
    watched = {part for stage in graph.stages.values() for part in stage.when.changed}
    return compile_plan(
        Source(
            graph,
            plan_digest(graph, version),
            version,
            loaded.project.ci,
            prefix,
            {part: paths for part, paths in parts.items() if part in watched},
            _has_embedded(loaded.project),
            frozenset(_asking(loaded.project, graph, catalogue)),
        )
    )


def _asking(project: Project, graph: StageGraph, catalogue: Mapping[str, Builtin]) -> Iterator[str]:
    """Yield the stages that ask models; those that judge do so for a dataset, or with an embedded judge."""
    for stage in graph.stages.values():
        asks = catalogue[stage.uses].asks if stage.uses is not None else "never"
        if asks == "always" or (asks == "dataset" and (stage.with_.get("dataset") or _judges_here(project))):
            yield stage.name


def _has_embedded(project: Project) -> bool:
    """Tell whether models of the catalogue answer, find or judge."""
    if any(entry.engine == "llamacpp" and entry.model in CATALOGUE for entry in project.models.values()):
        return True
    finding = (project.corpus.embedding, project.retrieval.reranker) if project.corpus is not None else ()
    return bool({*finding} & {*CATALOGUE}) or _judges_here(project)


def _judges_here(project: Project) -> bool:
    judge = project.judges.get(project.evals.judge or "")
    return judge is not None and judge.kind == "embedded"


def compiled(plan: CompilePlan, write: Callable[[CompilePlan], str], path: Path) -> Compiled:
    """Return what a target writes, compared with the file that is there.

    Raises:
        ConfigError: what the target cannot say.
        UsageError: what is there is no text file.
    """
    text = write(plan)
    try:
        committed = path.read_bytes().decode() if path.exists() else None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}", hint="name another file with --output") from error
    return Compiled(path, text, plan, tuple(drift(committed, text)))


def repository_root(root: Path) -> Path:
    """Return the folder of the git repository that a project is in; the project's own without one."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def part_paths(project: Project, part: str) -> tuple[str, ...]:
    """Return the patterns of the files that a part of the release is made of, relative to the project's folder.

    The project file is one of each: its models, policy and paths decide them all.
    """
    found = {
        "code": (*project.code.paths, *_BUILT_OF),
        "prompt": tuple(project.prompts.values()),
        "model": (),
        "data": tuple(_data(project)),
        "policy": (),
    }[part]
    return tuple(dict.fromkeys((PROJECT_FILE, "configs/**", *found)))


def _data(project: Project) -> Iterator[str]:
    if project.corpus is not None:
        yield str(PurePosixPath(project.corpus.root) / "**")
    for dataset in project.datasets.values():
        yield dataset.path
    if project.evals.dataset not in project.datasets:
        yield project.evals.dataset


def changed_parts(project: Project, files: Iterable[str] | None) -> tuple[str, ...]:
    """Return the parts of the release that changed files belong to; all of them when nobody knows what changed."""
    if files is None:
        return PARTS
    names = tuple(files)
    return tuple(part for part in PARTS if any(matches_any(name, part_paths(project, part)) for name in names))
