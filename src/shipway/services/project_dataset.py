"""The cases that a project names, read before they are asked: by the check of a project and the making of a release."""

import anyio

from shipway.config.loading import LoadedProject
from shipway.core.errors import DatasetError
from shipway.evals.dataset import parse_dataset
from shipway.evals.model import Dataset


async def project_dataset(loaded: LoadedProject) -> Dataset | None:
    """Return the cases that count, or None for a project that neither names a dataset nor has a gate.

    Raises:
        DatasetError: everything that is wrong with the file, each problem with its line.
    """
    settings, key = loaded.project.evals, ("evals", "dataset")
    shown = settings.dataset
    try:
        data = await anyio.Path(loaded.root / shown).read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and key not in loaded.places and not loaded.project.gates:
            return None
        reason = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        problem = f"{loaded.nearest_place(key)}: evals.dataset: {shown}: {reason}; write the cases or correct the path"
        raise DatasetError([problem]) from error
    dataset = parse_dataset(data, shown)
    return dataset if settings.split == "all" else dataset.only(settings.split)
