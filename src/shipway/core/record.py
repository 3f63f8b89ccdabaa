"""The record of one served request: what the data plane writes and everything else reads."""

from dataclasses import asdict, dataclass, fields
from typing import Any

# Events that analyses count, at most one of each per conversation. "bad" ones are what a canary is judged on.
ERROR = "error"
TIMEOUT = "timeout"
CLIENT_GONE = "client_gone"
ABSTAINED = "abstained"
UNSUPPORTED = "unsupported"
"""The model's own words were not supported by the passages, before the repair to a quoted passage."""
FALLBACK = "fallback"
"""The answer shown is a quoted passage, because the model's own words could not be."""
OF_GUARDS = ("guard", "blocked")
"""What the events of guards begin with."""


@dataclass(slots=True)
class ServedRequest:
    """One served request, without any text a user wrote. Nobody changes it; to freeze it costs more than to make it.

    `candidate_weight` is the share that was in force, so that analysis never has to guess an assignment probability.
    `question_hash` is keyed, never a plain hash of the text. `cache_hit` is `exact` or `semantic` for an answer that
    was given again: its tokens and cost are 0, and `tokens_saved` and `saved_usd` are those of the first time.
    `shadow_of` is the request that a shadow copy was made of. `dropped_turns` and `dropped_passages` had no room in the
    token budget.
    """

    id: str
    at_s: float
    environment: str
    route: str
    release: str
    is_candidate: bool
    candidate_weight: float
    rollout: str | None
    snapshot_version: int
    conversation: str
    conversation_source: str
    tenant: str
    key_id: str
    status: int
    latency_ms: float
    ttft_ms: float | None = None
    stream: bool = False
    model: str = ""
    prompt_version: str = ""
    tokens_in: int = 0
    tokens_cache_read: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    events: tuple[str, ...] = ()
    error_type: str = ""
    retrieval_count: int = 0
    documents: tuple[str, ...] = ()
    question_hash: str = ""
    worker: str = ""
    cache_hit: str = ""
    tokens_saved: int = 0
    saved_usd: float = 0.0
    shadow_of: str = ""
    dropped_turns: int = 0
    dropped_passages: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, one line of the spool."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ServedRequest":
        """Return the record of a JSON form; unknown keys of a newer writer are dropped."""
        values = {key: value for key, value in data.items() if key in _FIELDS}
        for name in ("events", "documents"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


_FIELDS = frozenset(field.name for field in fields(ServedRequest))
