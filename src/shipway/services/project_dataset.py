"""The cases that a project names, read before they are asked: by the check of a project and the making of a release."""

from collections.abc import Collection

from shipway.config.loading import LoadedProject
from shipway.core.errors import DatasetError
from shipway.evals.model import Dataset
from shipway.services.dataset_files import Known, entry_named, form_of, read_dataset_file


async def project_dataset(loaded: LoadedProject, *, documents: Collection[str] | None = None) -> Dataset | None:
    """Return the cases that count, or None for a project that neither names a dataset nor has a gate.

    `evals.dataset` is a file, or a name of `datasets`. `documents` are the corpus's; when given, what cases expect and
    who asks them must be known there.

    Raises:
        DatasetError: everything that is wrong with the file, each problem with its line.
    """
    settings = loaded.project.evals
    dataset, shown = await _read(loaded, documents)
    if dataset is None or settings.split == "all":
        return dataset
    judged = dataset.only(settings.split)
    if not judged.cases and loaded.project.gates:
        there = ", ".join(sorted({case.split for case in dataset.cases}))
        place = loaded.nearest_place(("evals", "split"))
        problem = f"{place}: evals.split: no case of {shown} has the split {settings.split!r} that gates judge"
        raise DatasetError([f"{problem} (there is {there}); give cases that split, or set evals.split"])
    return judged


async def whole_dataset(loaded: LoadedProject) -> Dataset:
    """Return the cases of all splits; none for a project that names no dataset.

    Raises:
        DatasetError: everything that is wrong with the file, each problem with its line.
    """
    dataset, shown = await _read(loaded, None)
    return dataset or Dataset(shown, ())


async def _read(loaded: LoadedProject, documents: Collection[str] | None) -> tuple[Dataset | None, str]:
    settings, key = loaded.project.evals, ("evals", "dataset")
    entry = entry_named(loaded, settings.dataset)
    shown = entry.path if entry else settings.dataset
    corpus = loaded.project.corpus if _asks_documents(loaded) else None
    known = None if corpus is None else documents
    tenants = None if corpus is None or known is None else {source.tenant for source in corpus.sources}
    try:
        found = await read_dataset_file(loaded.root / shown, shown, form_of(entry), Known(known, tenants))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and key not in loaded.places and not loaded.project.gates:
            return None, shown
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        problem = f"{loaded.nearest_place(key)}: evals.dataset: {shown}: {reason}; write the cases or correct the path"
        raise DatasetError([problem]) from error
    return found.dataset, shown


async def named_dataset_problems(loaded: LoadedProject) -> list[str]:
    """Return what is wrong with the files that `datasets` names, a line each."""
    problems: list[str] = []
    for name, entry in loaded.project.datasets.items():
        try:
            await read_dataset_file(loaded.root / entry.path, entry.path, form_of(entry))
        except OSError as error:
            reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            place = loaded.nearest_place(("datasets", name, "path"))
            problems.append(
                f"{place}: datasets.{name}.path: {entry.path}: {reason}; write the cases or correct the path"
            )
        except DatasetError as error:
            problems += error.problems
    return problems


def _asks_documents(loaded: LoadedProject) -> bool:
    """Tell whether the cases are put to a route that answers from documents."""
    routes, named = loaded.project.routes, loaded.project.evals.route
    asked = [routes[named]] if named in routes else routes.values()
    return any(route.kind == "rag" for route in asked)
