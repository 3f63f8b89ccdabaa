"""Vectors kept in memory, so that the sentences of passages that are often found are embedded once.

The serving process and the studies put it before their embedding model; corpus builds, which read every text once, do
not.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from shipway.core.errors import UsageError
from shipway.core.ids import Digest
from shipway.rag.ports import Embedder, Vectors

_KEPT = 16384
"""Vectors kept: 25 MB at 384 dimensions."""


class RememberingEmbedder:
    """An embedder that keeps the vectors asked for last; it forgets the longest unused first.

    Texts are kept as digests, never as they were said: users' questions pass through here too. Safe to share between
    requests, which at worst embed the same text twice.
    """

    def __init__(self, model: Embedder, *, kept: int = _KEPT) -> None:
        if kept < 1:
            raise UsageError(f"cannot keep {kept} vectors", hint="keep at least one, or use the model itself")
        self._model = model
        self._kept = kept
        self._vectors: OrderedDict[bytes, npt.NDArray[np.float32]] = OrderedDict()

    @property
    def digest(self) -> Digest:
        """Return the model's digest: its vectors are unchanged."""
        return self._model.digest

    @property
    def dimensions(self) -> int:
        """Return the length of a vector."""
        return self._model.dimensions

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, in order; only those not kept are asked of the model, each once."""
        keys = [_key(text) for text in texts]
        found = np.zeros((len(texts), self.dimensions), np.float32)
        missing: dict[bytes, str] = {}
        for row, (key, text) in enumerate(zip(keys, texts, strict=True)):
            vector = self._vectors.get(key)
            if vector is None:
                missing[key] = text
            else:
                self._vectors.move_to_end(key)
                found[row] = vector
        if missing:
            made = dict(zip(missing, await self._model.embed(list(missing.values())), strict=True))
            for row, key in enumerate(keys):
                if key in made:
                    found[row] = made[key]
            self._keep(made)
        return found

    def _keep(self, made: dict[bytes, npt.NDArray[np.float32]]) -> None:
        for key, vector in made.items():
            # A copy, for a row would hold on to the whole batch.
            self._vectors[key] = vector.copy()
            self._vectors.move_to_end(key)
        while len(self._vectors) > self._kept:
            self._vectors.popitem(last=False)


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
