"""Where an embedded model's weights are: a catalogue entry that is installed, or a file of the project."""

import hashlib
from pathlib import Path

from shipway.core.errors import NotFoundError
from shipway.services.models import CATALOGUE, ModelKind, check_is_llm, locate, locate_with_tokenizer

_CHUNK_BYTES = 1 << 20


class LocalModelFiles:
    """Implements `services.releases.ModelFiles` and `services.project_check.InstalledModels`."""

    def path(self, model: str, root: Path) -> Path:
        """Return the file of a model.

        Raises:
            UsageError: the catalogue has it, but it does not generate.
            NotFoundError: it is not installed, or the file is not there.
        """
        check_is_llm(model)
        if model in CATALOGUE:
            return locate(model)
        path = root / model
        if not path.is_file():
            known = ", ".join(sorted(name for name, entry in CATALOGUE.items() if entry.kind == "llm"))
            raise NotFoundError(
                f"model {model!r} is neither a model of the catalogue nor a file of the project",
                hint=f"the catalogue has {known}; put a GGUF file there or correct its path",
            )
        return path

    def retrieval(self, model: str, kind: ModelKind) -> tuple[Path, Path]:
        """Return the files of an embedding model or reranker and of its tokenizer."""
        return locate_with_tokenizer(model, kind)

    def digest(self, model: str, root: Path) -> str:
        """Return the digest of a model's weights; the catalogue knows it without the file."""
        check_is_llm(model)
        if model in CATALOGUE:
            return "sha256:" + CATALOGUE[model].sha256
        hasher = hashlib.sha256()
        with self.path(model, root).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
        return "sha256:" + hasher.hexdigest()
