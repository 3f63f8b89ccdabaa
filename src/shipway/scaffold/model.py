"""The values of a scaffold: files that do not exist yet."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

ProjectKind = Literal["chat", "rag", "http"]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One file to write; `path` is relative to the project's folder."""

    path: PurePosixPath
    content: str
    mode: int = 0o644

    @property
    def size_bytes(self) -> int:
        """Return how large it will be."""
        return len(self.content.encode())
