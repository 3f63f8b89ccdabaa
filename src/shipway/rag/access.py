"""The part of a corpus that one principal may read; `retrieve` selects it before anything is searched."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from shipway.core.errors import IntegrityError
from shipway.core.principal import Principal
from shipway.rag.model import Chunk
from shipway.rag.ports import ChunkNumbers, Hit
from shipway.rag.question import content_words


@dataclass(frozen=True, slots=True)
class VisibleCorpus:
    """What a tenant's group set may read.

    `superseded_by` maps a readable document to its newest readable successor; `document_counts` counts chunks by word
    stem, over readable chunks alone, so that no score depends on a text that the principal may not read.
    """

    numbers: ChunkNumbers
    allowed: frozenset[int]
    superseded_by: dict[str, str]
    document_counts: dict[str, int]

    @classmethod
    def of(cls, chunks: Sequence[Chunk], principal: Principal) -> "VisibleCorpus":
        """Select the chunks that the principal may read."""
        numbers = [number for number, chunk in enumerate(chunks) if chunk.access.admits(principal)]
        visible = [chunks[number] for number in numbers]
        counts: Counter[str] = Counter()
        for chunk in visible:
            counts.update(content_words(chunk.indexed_text()))
        return cls(np.array(numbers, np.int64), frozenset(numbers), _successors(visible), dict(counts))

    def checked(self, hits: Iterable[Hit]) -> list[Hit]:
        """Return the hits as they are; the last line of defence behind the indexes' own selection.

        Raises:
            IntegrityError: an index returned a chunk that the principal may not read; nothing is returned at all.
        """
        found = list(hits)
        if any(number not in self.allowed for number, _ in found):
            raise IntegrityError(
                "an index returned a chunk outside the caller's access rights; the retrieval was refused",
                hint="run `shipway rag build`, and build the corpus again",
            )
        return found

    def coverage(self, words: frozenset[str], text: str) -> float:
        """Return the share of the words, weighted by rarity, that stand in the text; 1 for a question without words."""
        total = sum(self._rarity(word) for word in words)
        if not total:
            return 1.0
        present = content_words(text)
        return sum(self._rarity(word) for word in words if word in present) / total

    def _rarity(self, word: str) -> float:
        size = len(self.numbers)
        count = self.document_counts.get(word, 0)
        return math.log(1 + (size - count + 0.5) / (count + 0.5))


def _successors(visible: Sequence[Chunk]) -> dict[str, str]:
    """Follow `supersedes` among readable documents to the newest one; a circle ends where it closes."""
    documents = {chunk.document for chunk in visible}
    direct: dict[str, str] = {}
    for chunk in visible:
        for old in chunk.supersedes:
            if old in documents:
                direct[old] = chunk.document
    found: dict[str, str] = {}
    for old, successor in direct.items():
        newest, seen = successor, {old}
        while newest in direct and newest not in seen:
            seen.add(newest)
            newest = direct[newest]
        if newest != old:
            found[old] = newest
    return found
