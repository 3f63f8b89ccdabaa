"""How near two texts are by an embedding model; implements `evals.ports.Similarity` for the assertion `similar`."""

from collections.abc import Sequence
from dataclasses import dataclass

from shipway.core.ids import Digest
from shipway.rag.ports import Embedder


@dataclass(frozen=True, slots=True)
class EmbeddedSimilarity:
    """The cosine of the vectors of two texts."""

    embedder: Embedder

    @property
    def digest(self) -> Digest:
        """The model it goes by."""
        return self.embedder.digest

    async def similarity(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return the cosine of each pair; a text that occurs in several is embedded once."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        if not texts:
            return []
        vectors = dict(zip(texts, await self.embedder.embed(texts), strict=True))
        return [min(1.0, max(-1.0, float(vectors[first] @ vectors[second]))) for first, second in pairs]
