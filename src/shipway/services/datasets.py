"""Datasets by name, file or version: checking, comparing, dividing, importing and registering them.

The command line calls this; `evals/data_*` knows the rules, `registry/datasets` keeps the versions.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio.to_thread
import numpy as np

from shipway.config.loading import LoadedProject
from shipway.config.sections.datasets import DatasetChecks, DatasetEntry
from shipway.core.errors import DatasetError, IntegrityError, NotFoundError, UsageError
from shipway.core.findings import FindingReport
from shipway.evals.data_checks import CheckParts, Previous, check_dataset
from shipway.evals.data_languages import load_language_of
from shipway.evals.data_leakage import CheckSources
from shipway.evals.data_shift import FEWEST_CASES, Look
from shipway.evals.data_words import asked
from shipway.evals.dataset import DatasetFile, parse_dataset, written_jsonl
from shipway.evals.model import Dataset
from shipway.evals.ports import PiiFinder
from shipway.evals.rows import FileForm
from shipway.evals.suggestions import did_you_mean
from shipway.rag.ports import DocumentReader, Vectors
from shipway.registry.datasets import DatasetContent, DatasetRegistry, DatasetVersion
from shipway.services.application import Application
from shipway.services.assertion_check import case_problems
from shipway.services.dataset_files import entry_named, form_of, read_dataset_file, unreadable
from shipway.services.dataset_sources import project_sources

_VERSION = re.compile(r"(?P<name>[^@]+)@(?P<number>[1-9]\d*)")

Embed = Callable[[Sequence[str]], Awaitable[Vectors]]


@dataclass(frozen=True, slots=True)
class NamedDataset:
    """A dataset as somebody named it: its name, its file and the settings that hold for it."""

    name: str
    file: DatasetFile
    entry: DatasetEntry | None = None

    @property
    def checks(self) -> DatasetChecks:
        """Return from which value on it is found wrong."""
        return self.entry.checks if self.entry else DatasetChecks()


@dataclass(frozen=True, slots=True)
class DatasetTools:
    """What checking looks with; without an embedding model topics are not compared."""

    readers: Mapping[str, DocumentReader] = field(default_factory=dict)
    pii: PiiFinder | None = None
    embed: Embed | None = None


def registry_of(app: Application) -> DatasetRegistry:
    """Return the registry of an installation."""
    return DatasetRegistry(app.state.documents, app.state.blobs)


async def read_named(loaded: LoadedProject, reference: str = "", form: FileForm | None = None) -> NamedDataset:
    """Return the dataset of a name of `datasets` or of a path in the project; without either, `evals.dataset`.

    Where `evals.dataset` is a file that `datasets` does not name, its versions have the file's name: that is taken too.

    Raises:
        NotFoundError: there is no such name or file.
        DatasetError: everything that is wrong with the file.
    """
    wanted = reference or loaded.project.evals.dataset
    entry = entry_named(loaded, wanted)
    if entry is None and _is_own(loaded, wanted):
        wanted = loaded.project.evals.dataset
    shown = entry.path if entry else wanted
    path = loaded.root / shown
    if entry is None and not path.exists():
        names = loaded.project.datasets
        hint = did_you_mean(wanted, names) if names else "name a file, or write the section `datasets`"
        raise NotFoundError(f"no dataset {wanted!r}: neither a file nor a name in shipway.yaml", hint=hint)
    try:
        found = await read_dataset_file(path, shown, form or form_of(entry))
    except OSError as error:
        raise unreadable(shown, error) from error
    return NamedDataset(_name_of(loaded, entry, path), found, entry)


async def read_file(path: Path, form: FileForm) -> NamedDataset:
    """Return the dataset of a file outside any project.

    Raises:
        DatasetError: everything that is wrong with it.
    """
    try:
        return NamedDataset(path.stem, await read_dataset_file(path, str(path), form))
    except OSError as error:
        raise unreadable(str(path), error) from error


async def read_version(app: Application, reference: str) -> Dataset:
    """Return the cases of `NAME@NUMBER`, or of what `read_named` takes.

    Raises:
        NotFoundError: there is none.
        IntegrityError: the store no longer holds what was registered.
        DatasetError: everything that is wrong with the file.
    """
    named = _VERSION.fullmatch(reference)
    if named is None or (app.loaded.root / reference).exists():
        try:
            return (await read_named(app.loaded, reference)).file.dataset
        except NotFoundError as error:
            newest = await registry_of(app).latest(reference)
            if newest is None:
                raise
            hint = f"{newest.label} is its newest version; a file is named by its path"
            raise NotFoundError(error.message, hint=hint) from error
    return await stored(app, await registry_of(app).get(named["name"], int(named["number"])))


async def stored(app: Application, version: DatasetVersion) -> Dataset:
    """Return the cases of a version.

    Raises:
        IntegrityError: the store no longer holds what was registered.
    """
    dataset = parse_dataset(await registry_of(app).data(version), f"{version.name}.jsonl")
    if dataset.digest != version.digest:
        raise IntegrityError(
            f"dataset {version.label} has digest {dataset.digest}, but {version.digest} was registered",
            hint="this version of Shipway reads cases otherwise; register the dataset again",
        )
    return dataset


async def check(app: Application | None, found: NamedDataset, tools: DatasetTools, against: str = "") -> FindingReport:
    """Return what is wrong with a dataset.

    It is compared with the version `against`, by default the newest registered one; without a project there are neither
    versions nor prompts nor documents to compare with.

    Raises:
        NotFoundError: there is no such version.
        DatasetError: a case names a file, a function or a language that is not there.
        UsageError: `against` without a project.
        ConfigError: a prompt of the project is malformed.
    """
    root = app.loaded.root if app is not None else None
    problems = await anyio.to_thread.run_sync(lambda: [*case_problems(root, [found.file])])
    if problems:
        raise DatasetError(problems)
    if app is None:
        if against:
            raise UsageError("--against needs a project, which keeps the versions", hint="name it with --project")
        return await anyio.to_thread.run_sync(check_dataset, found.file, found.checks, CheckParts(pii=tools.pii))
    sources = await project_sources(app.loaded, tools.readers, documents=found.checks.corpus_leakage != "off")
    parts = CheckParts(
        CheckSources(sources.prompts, sources.few_shots, sources.documents),
        await _previous(app, found, tools, against),
        tools.pii,
        sources.unreadable,
    )
    return await anyio.to_thread.run_sync(check_dataset, found.file, found.checks, parts)


async def register(app: Application, found: NamedDataset) -> tuple[DatasetVersion, bool]:
    """Keep the cases as a version; return the newest version and whether it is new.

    Raises:
        ConflictError: somebody else registered one meanwhile.
    """
    dataset = found.file.dataset
    content = DatasetContent(dataset.digest, len(dataset.cases), written_jsonl(dataset.cases))
    version, is_new = await registry_of(app).add(found.name, content, at_s=app.clock.now_s(), by=app.actor)
    if is_new:
        await app.audit("dataset.registered", version.label, digest=version.digest, cases=version.cases)
    return version, is_new


async def _previous(app: Application, found: NamedDataset, tools: DatasetTools, against: str) -> Previous | None:
    if against:
        before, name = await read_version(app, f"{found.name}@{against}" if against.isdigit() else against), against
    else:
        version = await registry_of(app).latest(found.name)
        if version is None:
            return None
        before, name = await stored(app, version), version.label
    return Previous(before, name, await _look(before, found.file.dataset, tools))


async def _look(before: Dataset, after: Dataset, tools: DatasetTools) -> Look:
    if before.digest == after.digest or min(len(before.cases), len(after.cases)) < FEWEST_CASES:
        return Look(lambda _text: "?")  # nothing will be compared, so no model is loaded
    language_of = await anyio.to_thread.run_sync(load_language_of)
    if tools.embed is None:
        return Look(language_of)
    texts = [[asked(case) for case in dataset.cases] for dataset in (before, after)]
    vectors = await tools.embed([*texts[0], *texts[1]])
    first, second = np.split(np.asarray(vectors, np.float32), [len(texts[0])])
    return Look(language_of, (first, second))


def _is_own(loaded: LoadedProject, wanted: str) -> bool:
    own = loaded.project.evals.dataset
    is_free = entry_named(loaded, own) is None and not (loaded.root / wanted).exists()
    return is_free and wanted == Path(own).stem


def _name_of(loaded: LoadedProject, entry: DatasetEntry | None, path: Path) -> str:
    return next((name for name, item in loaded.project.datasets.items() if item is entry), path.stem)


def named_as(found: NamedDataset, name: str) -> NamedDataset:
    """Return the dataset under another name; the same one for none."""
    return replace(found, name=name) if name else found
