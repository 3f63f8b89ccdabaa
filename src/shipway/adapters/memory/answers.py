"""Answers of the cache in this process; implements `gateway.cache_model.AnswerStore`."""

from collections import OrderedDict
from dataclasses import replace

from shipway.core.clock import Clock
from shipway.gateway.cache_model import CacheKey, StoredAnswer


class MemoryAnswers:
    """Bounded by bytes: what was used longest ago goes first. One answer takes a tenth of the room at most."""

    def __init__(self, clock: Clock, *, max_bytes: int) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._answers: OrderedDict[CacheKey, tuple[StoredAnswer, float]] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return about how much memory the answers take."""
        return self._size_bytes

    async def get(self, key: CacheKey) -> StoredAnswer | None:
        """Return an answer that has not expired."""
        found = self._answers.get(key)
        if found is None:
            return None
        if found[1] <= self._clock.monotonic_s():
            self._drop(key)
            return None
        self._answers.move_to_end(key)
        return found[0]

    async def put(self, key: CacheKey, answer: StoredAnswer, *, ttl_s: float) -> None:
        """Keep an answer for `ttl_s`."""
        self._drop(key)
        if answer.size_bytes > self._max_bytes // 10:
            return
        # A copy: what orjson wrote has up to twelve times the room behind it, which nobody would count.
        answer = replace(answer, body=bytes(memoryview(answer.body)))
        self._answers[key] = (answer, self._clock.monotonic_s() + ttl_s)
        self._size_bytes += answer.size_bytes
        while self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._answers)))

    def resize(self, max_bytes: int) -> None:
        """Take another size; what does not fit any more goes, the longest unused first."""
        self._max_bytes = max_bytes
        while self._size_bytes > self._max_bytes:
            self._drop(next(iter(self._answers)))

    async def forget(self, release: str) -> int:
        """Drop every answer of a release."""
        keys = [key for key in self._answers if key.release == release]
        for key in keys:
            self._drop(key)
        return len(keys)

    async def close(self) -> None:
        """Drop everything."""
        self._answers.clear()
        self._size_bytes = 0

    def _drop(self, key: CacheKey) -> None:
        found = self._answers.pop(key, None)
        if found is not None:
            self._size_bytes -= found[0].size_bytes
