"""Where an embedded model's weights are: a catalogue entry that is installed, or a file of the project."""

import hashlib
from pathlib import Path

from shipway.core.errors import NotFoundError
from shipway.services.models import CATALOGUE, locate

_CHUNK_BYTES = 1 << 20


class LocalModelFiles:
    """Implements `services.releases.ModelFiles`."""

    def path(self, model: str, root: Path) -> Path:
        """Return the file of a model.

        Raises:
            NotFoundError: it is not installed, or the file is not there.
        """
        if model in CATALOGUE:
            return locate(model)
        path = root / model
        if not path.is_file():
            known = ", ".join(sorted(CATALOGUE))
            raise NotFoundError(
                f"model {model!r} is neither an installed model nor a file", hint=f"installed models: {known}"
            )
        return path

    def digest(self, model: str, root: Path) -> str:
        """Return the digest of a model's weights; the catalogue knows it without the file."""
        if model in CATALOGUE:
            return "sha256:" + CATALOGUE[model].sha256
        hasher = hashlib.sha256()
        with self.path(model, root).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
        return "sha256:" + hasher.hexdigest()
