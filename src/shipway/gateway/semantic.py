"""Finding a stored answer to a question that was asked in other words. Used by `gateway.cache` after an exact miss.

Questions are compared inside one scope only: tenant, release, route, every other message and every field of the request
are equal. Nothing is found until a calibration says from which cosine on a match may be trusted.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shipway.core.ids import Digest
from shipway.gateway.cache_model import CacheKey
from shipway.gateway.wording import Wording, may_match, wording_of

Vector = npt.NDArray[np.float32]
_FIRST_ROOM = 8


class QuestionEmbedder(Protocol):
    """Turns questions into vectors whose inner product is their similarity; rag's embedders are such."""

    @property
    def digest(self) -> Digest:
        """Return the digest of the model and of all that changes its vectors."""
        ...

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return (n, dimensions) float32, L2-normalised."""
        ...


@dataclass(frozen=True, slots=True)
class _Asked:
    key: CacheKey
    wording: Wording
    expires_s: float


class _Questions:
    """The questions of one scope, oldest first; their vectors lie in one matrix, so that a look-up is one product."""

    def __init__(self, dimensions: int) -> None:
        self.asked: deque[_Asked] = deque()
        self._matrix = np.zeros((_FIRST_ROOM, dimensions), np.float32)
        self._first = 0

    def add(self, asked: _Asked, vector: Vector) -> None:
        end = self._first + len(self.asked)
        if end == len(self._matrix):
            used = self._matrix[self._first : end]
            # Half of it gone: the rest moves up; else the room doubles.
            room = len(self._matrix) if self._first * 2 >= end else 2 * len(self._matrix)
            self._matrix = np.zeros((room, self._matrix.shape[1]), np.float32)
            self._matrix[: len(used)] = used
            self._first, end = 0, len(used)
        self._matrix[end] = vector
        self.asked.append(asked)

    def drop_oldest(self) -> None:
        self.asked.popleft()
        self._first += 1

    def cosines(self, vector: Vector) -> Vector:
        found: Vector = self._matrix[self._first : self._first + len(self.asked)] @ vector
        return found


@dataclass(frozen=True, slots=True)
class Asking:
    """A question on its way through the cache: its scope, vector and wording."""

    scope: CacheKey
    vector: Vector
    wording: Wording


class SemanticIndex:
    """The questions whose answers lie in the store; of one worker, bounded by `max_questions` (oldest scope first)."""

    def __init__(self, embedder: QuestionEmbedder, threshold: float, *, max_questions: int = 10_000) -> None:
        self._embedder = embedder
        self._threshold = threshold
        self._max_questions = max_questions
        self._scopes: OrderedDict[CacheKey, _Questions] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    async def asking(self, scope: CacheKey, question: str) -> Asking:
        """Return a question ready to be looked up."""
        vectors = await self._embedder.embed([question])
        return Asking(scope, np.asarray(vectors[0], np.float32), wording_of(question))

    def nearest(self, asking: Asking, *, now_s: float) -> CacheKey | None:
        """Return where the answer to the most similar question lies, None when none is similar enough."""
        known = self._scopes.get(asking.scope)
        if known is None:
            return None
        self._scopes.move_to_end(asking.scope)
        while known.asked and known.asked[0].expires_s <= now_s:
            known.drop_oldest()
            self._size -= 1
        if not known.asked:
            del self._scopes[asking.scope]
            return None
        cosines = known.cosines(asking.vector)
        near = np.flatnonzero(cosines >= self._threshold)
        for place in near[np.argsort(-cosines[near], kind="stable")]:
            asked = known.asked[place]
            if asked.expires_s > now_s and may_match(asked.wording, asking.wording):
                return asked.key
        return None

    def add(self, asking: Asking, key: CacheKey, *, expires_s: float) -> None:
        """Remember that the answer to a question lies at `key`."""
        known = self._scopes.get(asking.scope)
        if known is None:
            known = self._scopes[asking.scope] = _Questions(len(asking.vector))
        known.add(_Asked(key, asking.wording, expires_s), asking.vector)
        self._scopes.move_to_end(asking.scope)
        self._size += 1
        while self._size > self._max_questions:
            oldest, questions = next(iter(self._scopes.items()))
            questions.drop_oldest()
            self._size -= 1
            if not questions.asked:
                del self._scopes[oldest]

    def forget(self, release: str) -> None:
        """Drop every question of a release."""
        for scope in [scope for scope in self._scopes if scope.release == release]:
            self._size -= len(self._scopes.pop(scope).asked)
