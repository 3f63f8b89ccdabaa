"""Exact indexes in plain files; implement `rag.ports.VectorFormat` and `KeywordFormat` with numpy and JSON alone."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import numpy as np

from shipway.core.errors import IntegrityError
from shipway.core.ids import TenantId
from shipway.core.principal import Principal
from shipway.rag.model import Access, Chunk
from shipway.rag.ports import ChunkNumbers, Hit, Vectors
from shipway.rag.question import content_words

_VECTORS = "vectors.npy"
_WORDS = "words.json"
_REBUILD = "run `shipway rag build`"


class NumpyVectorFormat:
    """A matrix in one file."""

    @property
    def version(self) -> str:
        """Return name and format version."""
        return "numpy/1"

    async def write(self, directory: Path, vectors: Vectors) -> None:
        """Write the index of chunks 0 … n-1."""
        await anyio.to_thread.run_sync(np.save, directory / _VECTORS, vectors)

    async def open(self, directory: Path) -> "NumpyVectorIndex":
        """Open it for reading."""
        try:
            return NumpyVectorIndex(await anyio.to_thread.run_sync(np.load, directory / _VECTORS))
        except (OSError, ValueError, EOFError) as error:
            raise IntegrityError(f"{_VECTORS}: not a matrix ({error})", hint=_REBUILD) from error


class NumpyVectorIndex:
    """Inner products with all allowed rows."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    @property
    def size(self) -> int:
        """Return how many vectors it holds."""
        return len(self._vectors)

    async def search(self, vectors: Vectors, allowed: ChunkNumbers, limit: int) -> list[list[Hit]]:
        """Return the best `limit` allowed hits of each vector."""
        found = []
        for scores in vectors @ self._vectors[allowed].T:
            best = np.argsort(-scores, kind="stable")[:limit]
            found.append([(int(allowed[place]), float(scores[place])) for place in best])
        return found


@dataclass(frozen=True, slots=True)
class _Entry:
    words: frozenset[str]
    access: Access


class WordFormat:
    """Word stems of each chunk in one file."""

    @property
    def version(self) -> str:
        """Return name and format version."""
        return "words/1"

    async def write(self, directory: Path, chunks: Sequence[Chunk]) -> None:
        """Write the index of chunks 0 … n-1."""
        entries = [
            [sorted(content_words(chunk.indexed_text())), chunk.access.tenant, sorted(chunk.access.groups)]
            for chunk in chunks
        ]
        await anyio.to_thread.run_sync((directory / _WORDS).write_text, json.dumps(entries))

    async def open(self, directory: Path) -> "WordIndex":
        """Open it for reading."""
        try:
            loaded = json.loads(await anyio.to_thread.run_sync((directory / _WORDS).read_text))
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{_WORDS}: not a word index ({error})", hint=_REBUILD) from error
        return WordIndex(
            [_Entry(frozenset(words), Access(TenantId(tenant), frozenset(groups))) for words, tenant, groups in loaded]
        )


class WordIndex:
    """Sums the rarity of shared words."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = entries
        self._counts = Counter(word for entry in entries for word in entry.words)

    @property
    def size(self) -> int:
        """Return how many chunks it holds."""
        return len(self._entries)

    async def search(self, question: str, principal: Principal, limit: int) -> list[Hit]:
        """Return the best `limit` hits that the principal may read."""
        words = content_words(question)
        hits = [
            (number, sum(math.log(1 + len(self._entries) / self._counts[word]) for word in sorted(words & entry.words)))
            for number, entry in enumerate(self._entries)
            if entry.access.admits(principal) and words & entry.words
        ]
        return sorted(hits, key=lambda hit: (-hit[1], hit[0]))[:limit]
