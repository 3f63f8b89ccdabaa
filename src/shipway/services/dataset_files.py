"""Files of cases on disk, read in the form that the project says; whoever names a dataset comes here."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from shipway.config.loading import LoadedProject
from shipway.config.sections.datasets import DatasetEntry
from shipway.core.errors import DatasetError, UsageError
from shipway.evals.dataset import DatasetFile, read_dataset
from shipway.evals.imports.imported import Neighbours
from shipway.evals.model import Dataset
from shipway.evals.rows import FileForm

_LARGEST_NEIGHBOUR_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """What the cases may name: the corpus's documents and the tenants that have any; None compares nothing."""

    documents: Collection[str] | None = None
    tenants: Collection[str] | None = None


def entry_named(loaded: LoadedProject, name: str) -> DatasetEntry | None:
    """Return the dataset that the project has under a name or at a path, None when it has none."""
    datasets = loaded.project.datasets
    if name in datasets:
        return datasets[name]
    return next((entry for entry in datasets.values() if Path(entry.path) == Path(name)), None)


def form_of(entry: DatasetEntry | None) -> FileForm:
    """Return how a dataset's file is written."""
    return FileForm() if entry is None else FileForm(entry.format, entry.encoding, entry.delimiter)


async def read_dataset_file(path: Path, shown: str, form: FileForm, known: Known | None = None) -> DatasetFile:
    """Return the cases of a file, which messages call `shown`.

    Raises:
        OSError: it cannot be read.
        DatasetError: everything that is wrong with it.
    """
    data = await anyio.Path(path).read_bytes()
    known = known or Known()

    def read() -> DatasetFile:
        return read_dataset(
            data,
            shown,
            documents=known.documents,
            tenants=known.tenants,
            form=form,
            neighbours=neighbours_of(path.parent),
        )

    return await anyio.to_thread.run_sync(read)


def neighbours_of(folder: Path) -> Neighbours:
    """Return what reads the files that an imported file names: those of its own folder and below."""
    root = folder.resolve()

    def read(name: str) -> tuple[str, str]:
        if any(character in name for character in "*?["):
            raise UsageError(f"{name!r} stands for several files; name them one by one")
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise UsageError(f"{name!r} leads out of the folder of the file that names it; copy it there")
        try:
            if path.stat().st_size > _LARGEST_NEIGHBOUR_BYTES:
                raise UsageError(f"{name!r} is larger than {_LARGEST_NEIGHBOUR_BYTES // 1_000_000} MB")
            return name, path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UsageError(f"{name!r} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{name!r} is not UTF-8; save it as UTF-8") from error

    return read


def unreadable(shown: str, error: OSError) -> DatasetError:
    """Return the refusal of a file that cannot be read."""
    reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"
    return DatasetError([f"{shown}: {reason}"])


async def case_place(loaded: LoadedProject, named: str, case_id: str) -> str:
    """Return the file and line of a case of `evals.dataset`, or of another file or name of `datasets`.

    Raises:
        OSError: it cannot be read.
        DatasetError: everything that is wrong with it.
    """
    name = named or loaded.project.evals.dataset
    entry = entry_named(loaded, name)
    shown = entry.path if entry else name
    return (await read_dataset_file(loaded.root / shown, shown, form_of(entry))).place(case_id)


async def load_project_dataset(loaded: LoadedProject, named: str = "") -> Dataset:
    """Return all cases of `evals.dataset`, or of another file or name of `datasets`.

    Raises:
        DatasetError: it cannot be read, or everything that is wrong with it.
    """
    name = named or loaded.project.evals.dataset
    entry = entry_named(loaded, name)
    shown = entry.path if entry else name
    try:
        return (await read_dataset_file(loaded.root / shown, shown, form_of(entry))).dataset
    except OSError as error:
        raise unreadable(shown, error) from error
