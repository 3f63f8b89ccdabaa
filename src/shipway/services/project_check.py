"""Whether everything that a project names is there and right; `shipway config check` shows what this finds.

The project file itself is valid already: this looks at the files, documents, models and cases behind it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.config.secrets import resolve_secret, secret_references
from shipway.config.yaml_source import KeyPath, dotted
from shipway.core.clock import Clock, SystemClock
from shipway.core.errors import ConfigError, DatasetError, ShipwayError, UsageError
from shipway.core.ports import KeyStore
from shipway.evals.model import Dataset
from shipway.rag.sources import problem_lines, scan
from shipway.services.assertion_check import evaluation_problems
from shipway.services.gate_check import gate_problems
from shipway.services.gates import quarantine_of
from shipway.services.models import WITHOUT_MODEL, ModelKind
from shipway.services.project_dataset import named_dataset_problems, project_dataset
from shipway.services.project_lines import error_lines, tried
from shipway.services.releases import PromptReader, code_files, prompt_file
from shipway.services.rollout_faults import plan_problems


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
    """What the check looks with; `suffixes` are those of readable documents, `clock` says what has expired."""

    prompts: PromptReader
    models: InstalledModels
    suffixes: Collection[str]
    clock: Clock = field(default_factory=SystemClock)


async def project_problems(loaded: LoadedProject, parts: CheckParts) -> list[str]:
    """Return everything that is wrong, a line each: file, line, key, what is wrong, what to do."""
    documents, of_corpus = await anyio.to_thread.run_sync(_corpus_documents, loaded, parts)
    problems = await anyio.to_thread.run_sync(lambda: [*_file_problems(loaded, parts)]) + of_corpus
    dataset: Dataset | None = None
    try:
        dataset = await project_dataset(loaded, documents=documents)
    except DatasetError as error:
        problems += error.problems
    problems += await named_dataset_problems(loaded)
    problems += gate_problems(loaded, dataset)
    problems += plan_problems(loaded)
    problems += await evaluation_problems(loaded)
    problems += await _quarantine_problems(loaded, dataset, parts.clock)
    # Two keys may name the same broken file.
    return list(dict.fromkeys(problems))


async def startup_problems(loaded: LoadedProject, parts: CheckParts) -> list[str]:
    """Return what would keep the processes of `up` from working: models and prompts that are missing or wrong."""
    found = await anyio.to_thread.run_sync(lambda: [*_needed_to_serve(loaded, parts)])
    return list(dict.fromkeys(found))


async def key_problems(loaded: LoadedProject, keys: KeyStore, *, now_s: float) -> list[str]:
    """Return the keys in force that the project contradicts: their tenant is gone, or their limits name another.

    Without `tenants` any tenant is right.
    """
    tenants, limits = loaded.project.tenants, loaded.project.key_limits
    known = ", ".join(sorted(tenants))
    problems = []
    for entry in await keys.list():
        if entry.expires_at_s is not None and entry.expires_at_s <= now_s:
            continue
        if tenants and entry.tenant not in tenants:
            problems.append(
                f"{loaded.nearest_place(('tenants',))}: tenants: the key {entry.key_id} belongs to {entry.tenant!r},"
                f" which is not in tenants (it has {known}); add it, or revoke the key with"
                f" `shipway key revoke {entry.key_id}`"
            )
        own = limits.get(entry.key_id)
        if own is not None and own.tenant != entry.tenant:
            place = loaded.nearest_place(("key_limits", entry.key_id, "tenant"))
            problems.append(
                f"{place}: key_limits.{entry.key_id}.tenant: the key belongs to {entry.tenant!r}, not to"
                f" {own.tenant!r}; these limits would not hold for it"
            )
    return problems


def project_warnings(loaded: LoadedProject, environ: Mapping[str, str]) -> list[str]:
    """Return what is no mistake of the project but missing here: secrets that another environment may well have."""
    found = []
    for path, reference in secret_references(loaded.project):
        try:
            resolve_secret(reference, root=loaded.root, environ=environ)
        except ConfigError as error:
            found.append(f"{loaded.nearest_place(path)}: {dotted(path)}: {'; '.join(error.problems)}")
    return found


def _file_problems(loaded: LoadedProject, parts: CheckParts) -> Iterator[str]:
    for index, pattern in enumerate(loaded.project.code.paths):
        yield from tried(loaded, ("code", "paths", index), partial(code_files, loaded.root, (pattern,)))
    yield from _needed_to_serve(loaded, parts)


def _needed_to_serve(loaded: LoadedProject, parts: CheckParts) -> Iterator[str]:
    project, root = loaded.project, loaded.root
    for name, relative in project.prompts.items():
        yield from tried(loaded, ("prompts", name), partial(prompt_file, root, name, relative, parts.prompts))
    for alias, entry in project.models.items():
        if entry.engine == "llamacpp":
            yield from tried(loaded, ("models", alias, "model"), partial(parts.models.path, entry.model, root))
    corpus, reranker = project.corpus, project.retrieval.reranker
    if corpus is None:
        return
    named: tuple[tuple[KeyPath, str | None, ModelKind], ...] = (
        (("corpus", "embedding"), corpus.embedding, "embedding"),
        (("retrieval", "reranker"), reranker, "reranker"),
    )
    for key, model, kind in named:
        if model is not None and model != WITHOUT_MODEL:
            yield from tried(loaded, key, partial(parts.models.retrieval, model, kind))


def _corpus_documents(loaded: LoadedProject, parts: CheckParts) -> tuple[frozenset[str] | None, list[str]]:
    """Return the documents that cases may expect, None where nobody knows them, and what is wrong with the files."""
    corpus, key = loaded.project.corpus, ("corpus", "root")
    if corpus is None:
        return None, []
    try:
        found = scan(corpus, loaded.root / corpus.root, parts.suffixes)
    except ShipwayError as error:
        return None, [*error_lines(loaded, key, error)]
    if not found.files and not found.refused:
        problem = UsageError(f"{corpus.root!r} holds no documents", hint="add documents or change `corpus.root`")
        return None, [*error_lines(loaded, key, problem)]
    # A file that is refused is there; what is wrong with it is said once.
    documents = {file.path for file in found.files} | {error.path for error in found.refused}
    return frozenset(documents), problem_lines(corpus.root, found.refused)


async def _quarantine_problems(loaded: LoadedProject, dataset: Dataset | None, clock: Clock) -> list[str]:
    if dataset is None:
        return []
    try:
        await quarantine_of(loaded, dataset, now_s=clock.now_s())
    except (ConfigError, DatasetError) as error:
        return error.problems
    return []
