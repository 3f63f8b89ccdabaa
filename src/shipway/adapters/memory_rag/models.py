"""Deterministic stand-ins for the two models; implement `rag.ports.Embedder` and `Reranker`."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shipway.core.canonical import digest_bytes
from shipway.core.ids import Digest
from shipway.rag.ports import Vectors
from shipway.rag.question import content_words

_PAIR = re.compile(r"(?=(\w{3}))")


class HashingEmbedder:
    """Counts word stems and letter triples in hashed places: texts that share words are near each other."""

    def __init__(self, dimensions: int = 256) -> None:
        self._dimensions = dimensions

    @property
    def digest(self) -> Digest:
        """Return the digest of the scheme."""
        return digest_bytes(f"hashing/1/{self._dimensions}".encode())

    @property
    def dimensions(self) -> int:
        """Return the length of a vector."""
        return self._dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimensions) float32, L2-normalised."""
        found = np.zeros((len(texts), self._dimensions), np.float32)
        for row, text in enumerate(texts):
            for word in content_words(text):
                found[row, self._place(word)] += 1.0
                for triple in _PAIR.findall(word):
                    found[row, self._place(triple)] += 0.25
            if not found[row].any():
                found[row, 0] = 1.0
        normalised: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
        return normalised

    def _place(self, word: str) -> int:
        return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest()) % self._dimensions


class OverlapReranker:
    """The share of the question's words in the passage, on the scale of a cross-encoder's logit (-10 … 10)."""

    @property
    def digest(self) -> Digest:
        """Return the digest of the scheme."""
        return digest_bytes(b"overlap/1")

    async def score(self, question: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32."""
        words = content_words(question)
        shares = [len(words & content_words(text)) / max(1, len(words)) for text in texts]
        return np.array([20.0 * share - 10.0 for share in shares], np.float32)
