"""Writing a file so that it is there whole or not at all, whatever happens to the process."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

STAGED_PREFIX = ".shipway-"
"""How the names of files begin that are still being written into a project; they are nobody's input or output."""


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
