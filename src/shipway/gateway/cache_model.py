"""Values and ports of the answer cache: what is kept, by which rules, and where.

Above: `gateway.cache`. Below: `adapters/memory/answers` (one worker) and `adapters/redis_answers` (all workers); both
pass `tests/contract/answers`.
"""

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol

import orjson

from shipway.gateway.model import Usage

EXACT = "exact"
SEMANTIC = "semantic"


class Form(StrEnum):
    """How an answer travels; each form is an entry of its own, because bytes are what is replayed."""

    WHOLE = "whole"
    STREAM = "stream"
    STREAM_WITH_USAGE = "stream+usage"
    RESULT = "result"
    """A checked answer from documents, before it takes any of the other forms."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What one route allows.

    `always` caches what is not deterministic too; `tool_calls` caches answers that call tools.
    """

    ttl_s: float = 3600.0
    always: bool = False
    tool_calls: bool = False
    semantic: bool = False
    follow_s: float = 30.0


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Where an answer lies; the release stands apart so that all of a release's answers can be dropped."""

    release: str
    digest: str

    def __str__(self) -> str:
        return f"{self.release}:{self.digest}"


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as it was sent, with what it cost the first time; `events` are those of its record."""

    form: Form
    body: bytes
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    model: str = ""
    prompt_version: str = ""
    retrieval_count: int = 0
    documents: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    stored_at_s: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return len(self.body) + 512

    def to_bytes(self) -> bytes:
        """Return one value for a store outside this process: a line of JSON, then the body."""
        head = {name: value for name, value in asdict(self).items() if name != "body"}
        return orjson.dumps(head) + b"\n" + self.body

    @classmethod
    def from_bytes(cls, data: bytes) -> "StoredAnswer | None":
        """Return the answer of `to_bytes`; None for what this version cannot read."""
        head, separator, body = data.partition(b"\n")
        if not separator:
            return None
        try:
            told: dict[str, Any] = orjson.loads(head)
            known = {item.name for item in fields(cls)} - {"body"}
            values = {name: value for name, value in told.items() if name in known}
            for name in ("documents", "events"):
                values[name] = tuple(values.get(name, ()))
            usage = Usage(**values.get("usage", {}))
            return cls(**{**values, "form": Form(values["form"]), "usage": usage, "body": body})
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            return None


class AnswerStore(Protocol):
    """Where answers lie until they expire."""

    async def get(self, key: CacheKey) -> StoredAnswer | None:
        """Return an answer that has not expired.

        Raises:
            UnavailableError: the store cannot be asked; the cache goes on without it.
        """
        ...

    async def put(self, key: CacheKey, answer: StoredAnswer, *, ttl_s: float) -> None:
        """Keep an answer for `ttl_s`; one that is too large is not kept.

        Raises:
            UnavailableError: the store cannot be asked.
        """
        ...

    async def forget(self, release: str) -> int:
        """Drop every answer of a release and return how many there were."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


class SimilarQuestions(Protocol):
    """Finds a kept answer to a question in other words; `gateway.semantic` does, with numpy, which not all load.

    What `asking` returns is for the other two alone.
    """

    async def asking(self, scope: CacheKey, question: str) -> Any:
        """Return a question ready to be looked up."""
        ...

    def nearest(self, asking: Any, *, now_s: float) -> CacheKey | None:
        """Return where the answer to the most similar question lies, None when none is similar enough."""
        ...

    def add(self, asking: Any, key: CacheKey, *, expires_s: float) -> None:
        """Remember that the answer to a question lies at `key`."""
        ...

    def forget(self, release: str) -> None:
        """Drop every question of a release."""
        ...
