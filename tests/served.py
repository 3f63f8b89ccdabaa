"""Served requests with only what a test is about filled in."""

from typing import Any

from shipway.core.record import ServedRequest

_USUAL: dict[str, Any] = {
    "at_s": 1.0,
    "environment": "production",
    "route": "ask",
    "release": "rel",
    "is_candidate": False,
    "candidate_weight": 0.5,
    "rollout": "ro",
    "snapshot_version": 1,
    "conversation_source": "header",
    "tenant": "t",
    "key_id": "k",
    "status": 200,
    "latency_ms": 1.0,
}


def served_request(conversation: str, **fields: Any) -> ServedRequest:
    """Return a request of a conversation, whose id is its name unless `id` is given."""
    return ServedRequest(**{**_USUAL, "id": conversation, "conversation": conversation, **fields})
