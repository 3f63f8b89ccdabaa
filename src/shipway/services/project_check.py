"""Whether everything that a project names is there and right; `shipway config check` shows what this finds.

The project file itself is valid already: this looks at the files, documents, models and cases behind it.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.config.sections.evals import Gate
from shipway.config.yaml_source import KeyPath, dotted
from shipway.core.errors import ConfigError, DatasetError, ShipwayError, UsageError
from shipway.evals.gate_spec import NonRegressionGate, parse_gates
from shipway.evals.gates import check_gates
from shipway.evals.model import Dataset
from shipway.rag.sources import problem_lines, scan
from shipway.services.models import WITHOUT_MODEL, ModelKind
from shipway.services.project_dataset import project_dataset
from shipway.services.releases import PromptReader, code_files, prompt_file


class InstalledModels(Protocol):
    """Where the files of embedded models are known."""

    def path(self, model: str, root: Path) -> Path:
        """Return the file of a model that generates, or raise what is wrong with it."""
        ...

    def retrieval(self, model: str, kind: ModelKind) -> tuple[Path, Path]:
        """Return the files of an embedding model or reranker, or raise what is wrong with it."""
        ...


@dataclass(frozen=True, slots=True)
class CheckParts:
    """What the check looks with; `suffixes` are those of readable documents."""

    prompts: PromptReader
    models: InstalledModels
    suffixes: Collection[str]


async def project_problems(loaded: LoadedProject, parts: CheckParts) -> list[str]:
    """Return everything that is wrong, a line each: file, line, key, what is wrong, what to do."""
    problems = await anyio.to_thread.run_sync(lambda: [*_file_problems(loaded, parts)])
    dataset: Dataset | None = None
    try:
        dataset = await project_dataset(loaded)
    except DatasetError as error:
        problems += error.problems
    problems += _gate_problems(loaded, dataset)
    # Two keys may name the same broken file.
    return list(dict.fromkeys(problems))


def _file_problems(loaded: LoadedProject, parts: CheckParts) -> Iterator[str]:
    project, root = loaded.project, loaded.root
    for index, pattern in enumerate(project.code.paths):
        yield from _tried(loaded, ("code", "paths", index), partial(code_files, root, (pattern,)))
    for name, relative in project.prompts.items():
        yield from _tried(loaded, ("prompts", name), partial(prompt_file, root, name, relative, parts.prompts))
    for alias, entry in project.models.items():
        if entry.engine == "llamacpp":
            yield from _tried(loaded, ("models", alias, "model"), partial(parts.models.path, entry.model, root))
    if project.corpus is not None:
        yield from _corpus_problems(loaded, parts)


def _corpus_problems(loaded: LoadedProject, parts: CheckParts) -> Iterator[str]:
    corpus, reranker = loaded.project.corpus, loaded.project.retrieval.reranker
    if corpus is None:
        return
    named: tuple[tuple[KeyPath, str | None, ModelKind], ...] = (
        (("corpus", "embedding"), corpus.embedding, "embedding"),
        (("retrieval", "reranker"), reranker, "reranker"),
    )
    for key, model, kind in named:
        if model is not None and model != WITHOUT_MODEL:
            yield from _tried(loaded, key, partial(parts.models.retrieval, model, kind))
    try:
        found = scan(corpus, loaded.root / corpus.root, parts.suffixes)
    except ShipwayError as error:
        yield from _lines(loaded, ("corpus", "root"), error)
        return
    yield from problem_lines(corpus.root, found.refused)
    if not found.files and not found.refused:
        problem = UsageError(f"{corpus.root!r} holds no documents", hint="add documents or change `corpus.root`")
        yield from _lines(loaded, ("corpus", "root"), problem)


def _gate_problems(loaded: LoadedProject, dataset: Dataset | None) -> Iterator[str]:
    for index, gate in enumerate(loaded.project.gates):
        yield from _tried(loaded, ("gates", index), partial(_check_gate, gate, dataset))


def _check_gate(gate: Gate, dataset: Dataset | None) -> None:
    given = gate.model_dump(exclude_defaults=True, exclude={"reason"})
    specs = parse_gates([given])
    if dataset is not None:
        check_gates(specs, dataset)
    elif not isinstance(specs[0], NonRegressionGate):
        # Whether a drop can be seen depends on the cases, which could not be read; nothing else does.
        check_gates(specs, Dataset("", ()))


def _tried(loaded: LoadedProject, key: KeyPath, look: Callable[[], object]) -> Iterator[str]:
    try:
        look()
    except ShipwayError as error:
        yield from _lines(loaded, key, error)


def _lines(loaded: LoadedProject, key: KeyPath, error: ShipwayError) -> Iterator[str]:
    hint = f"; {error.hint}" if error.hint else ""
    if isinstance(error, ConfigError):
        # Its lines say already in which file and line of it they are.
        yield from (f"{problem}{hint}" for problem in error.problems)
        return
    name = dotted(key)
    # Where it is found out otherwise, the message must name the key itself.
    message = error.message.removeprefix(f"{name.partition('[')[0]}: ").removeprefix(f"{name} ")
    yield " ".join(f"{loaded.nearest_place(key)}: {name}: {message}{hint}".split())
