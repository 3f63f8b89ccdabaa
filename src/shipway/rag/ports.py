"""What retrieval needs from outside.

Above: `build` writes through these, `retrieve` reads through them. Below: `adapters/documents` (readers),
`adapters/onnx` (models), `adapters/faiss`, `adapters/tantivy` (indexes) and `adapters/memory_rag` (all of them without
a model or a file format, for tests and the no-model mode). Every implementation passes `tests/contract/rag`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from shipway.core.ids import Digest
from shipway.core.principal import Principal
from shipway.rag.model import Chunk, Retrieval

Vectors: TypeAlias = npt.NDArray[np.float32]
"""(n, dimensions) float32, L2-normalised."""

ChunkNumbers: TypeAlias = npt.NDArray[np.int64]
"""Places of chunks in the manifest's order, from 0; valid inside one corpus only."""

Hit: TypeAlias = tuple[int, float]
"""A chunk's number and its score, higher is better."""

BlockKind: TypeAlias = Literal["heading", "text", "row"]


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a document in reading order; `level` is a heading's depth from 1."""

    kind: BlockKind
    text: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class Extract:
    """What a reader got out of a file; `metadata` is the file's own (front matter)."""

    blocks: tuple[Block, ...]
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class DocumentReader(Protocol):
    """Turns a file's bytes into blocks of text."""

    @property
    def version(self) -> str:
        """Return name and version; a new one makes documents be read again."""
        ...

    async def read(self, path: str, data: bytes) -> Extract:
        """Return the blocks.

        Raises:
            DocumentError: the bytes are not what the suffix says.
        """
        ...


class Embedder(Protocol):
    """Turns texts into vectors whose inner product is their similarity."""

    @property
    def digest(self) -> Digest:
        """Return the digest of the model and of all that changes its vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Return the length of a vector."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, in order."""
        ...


class Reranker(Protocol):
    """Reads question and passage together."""

    @property
    def digest(self) -> Digest:
        """Return the digest of the model."""
        ...

    async def score(self, question: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32 relevance, higher is better, in order."""
        ...


class VectorIndex(Protocol):
    """Nearest chunks by vector, among those allowed only."""

    @property
    def size(self) -> int:
        """Return how many vectors it holds."""
        ...

    async def search(self, vectors: Vectors, allowed: ChunkNumbers, limit: int) -> list[list[Hit]]:
        """Return for each vector the best `limit` hits among `allowed`, best first, and nothing else."""
        ...


class KeywordIndex(Protocol):
    """Best chunks by words, among those that the principal may read only."""

    @property
    def size(self) -> int:
        """Return how many chunks it holds."""
        ...

    async def search(self, question: str, principal: Principal, limit: int) -> list[Hit]:
        """Return the best `limit` hits, best first; none when no word matches."""
        ...


class VectorFormat(Protocol):
    """How vectors lie in a directory."""

    @property
    def version(self) -> str:
        """Return name and format version."""
        ...

    async def write(self, directory: Path, vectors: Vectors) -> None:
        """Write the index of chunks 0 … n-1."""
        ...

    async def open(self, directory: Path) -> VectorIndex:
        """Open it for reading.

        Raises:
            IntegrityError: it cannot be read.
        """
        ...


class KeywordFormat(Protocol):
    """How words lie in a directory."""

    @property
    def version(self) -> str:
        """Return name and format version."""
        ...

    async def write(self, directory: Path, chunks: Sequence[Chunk]) -> None:
        """Write the index of chunks 0 … n-1."""
        ...

    async def open(self, directory: Path) -> KeywordIndex:
        """Open it for reading.

        Raises:
            IntegrityError: it cannot be read.
        """
        ...


class PassageSource(Protocol):
    """Finds passages for a principal's question; there is no way to ask without a principal."""

    async def retrieve(self, question: str, principal: Principal, *, top_k: int) -> Retrieval:
        """Return the best passages that the principal may read."""
        ...
