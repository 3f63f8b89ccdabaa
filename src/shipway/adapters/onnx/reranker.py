"""Relevance by a cross-encoder of the ms-marco family (ONNX); implements `rag.ports.Reranker`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shipway.adapters.onnx.session import OnnxModel
from shipway.core.ids import Digest


class CrossEncoder:
    """One logit for each pair of question and passage.

    `max_tokens` bounds the time: a pair costs about 7 ms at 200 tokens on one core.
    """

    def __init__(self, model_path: Path, tokenizer_path: Path, *, threads: int = 1, max_tokens: int = 192) -> None:
        self._model = OnnxModel(model_path, tokenizer_path, threads=threads, max_tokens=max_tokens)

    @property
    def digest(self) -> Digest:
        """Return the digest of model, tokenizer and length."""
        return self._model.digest

    async def score(self, question: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n,) float32 logits."""
        found = await self._model.run([(question, text) for text in texts])
        return np.array([output[0] for output, _ in found], np.float32)
