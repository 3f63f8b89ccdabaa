"""Sentence vectors by all-MiniLM-L6-v2 (ONNX); implements `rag.ports.Embedder`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shipway.adapters.onnx.session import OnnxModel
from shipway.core.ids import Digest
from shipway.rag.ports import Vectors

_DIMENSIONS = 384
_MAX_TOKENS = 256


class MiniLmEmbedder:
    """Mean of the token vectors under the attention mask, L2-normalised.

    Source: sentence-transformers/all-MiniLM-L6-v2, trained on at most 256 word pieces.
    """

    def __init__(self, model_path: Path, tokenizer_path: Path, *, threads: int = 1) -> None:
        self._model = OnnxModel(model_path, tokenizer_path, threads=threads, max_tokens=_MAX_TOKENS)

    @property
    def digest(self) -> Digest:
        """Return the digest of model, tokenizer and length."""
        return self._model.digest

    @property
    def dimensions(self) -> int:
        """Return the length of a vector."""
        return _DIMENSIONS

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, 384) float32, L2-normalised."""
        found = np.zeros((len(texts), _DIMENSIONS), np.float32)
        for row, (tokens, mask) in enumerate(await self._model.run(texts)):
            found[row] = (tokens * mask[:, None]).sum(axis=0) / mask.sum()
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        normalised: Vectors = (found / np.maximum(norms, 1e-12)).astype(np.float32)
        return normalised
