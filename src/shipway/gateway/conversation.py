"""Which conversation a request belongs to: the unit of assignment and of counting.

The header comes first, then `metadata.conversation_id`, then `previous_response_id`, else a hash of key, system prompt
and first user message, which stays the same while the conversation grows. The record keeps the source, because only the
first three are sure.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shipway.core.ids import ConversationId
from shipway.gateway.replies import RefusedError

HEADER = "x-shipway-conversation"

_LONGEST = 200
_SYSTEM = ("system", "developer")
_UNSAID = object()
_NAMING = frozenset({"metadata", "conversation", "conversation_id", "previous_response_id"})


@dataclass(slots=True)
class Conversation:
    """An identity; `source` is `header`, `metadata`, `previous_response_id`, `hash` or `request`."""

    id: ConversationId
    source: str


def identify(header: str | None, body: Mapping[str, Any], *, key_id: str) -> Conversation:
    """Return the conversation of a model request.

    Raises:
        RefusedError: an identity that is given but is no text of 1 to 200 printable characters.
    """
    if header is None and _NAMING.isdisjoint(body):
        return Conversation(_hashed(key_id, body), "hash")
    metadata = body.get("metadata")
    held = body.get("conversation") if "input" in body else None
    named = metadata.get("conversation_id") if isinstance(metadata, dict) else None
    given = (
        ("header", HEADER, header or None),
        ("metadata", "metadata.conversation_id", named),
        ("metadata", "conversation_id", body.get("conversation_id")),
        ("metadata", "conversation", held.get("id") if isinstance(held, dict) else held),
        ("previous_response_id", "previous_response_id", body.get("previous_response_id")),
    )
    for source, param, value in given:
        if value is not None:
            return Conversation(_checked(value, param), source)
    return Conversation(_hashed(key_id, body), "hash")


def identify_call(header: str | None, *, request_id: str) -> Conversation:
    """Return the conversation of a request whose body is not read (route kind http).

    Without the header each request counts as a conversation of its own: a hash of the key alone would send all of a
    key's traffic to one release.
    """
    if header:
        return Conversation(_checked(header, HEADER), "header")
    return Conversation(ConversationId(request_id), "request")


def _checked(value: Any, param: str) -> ConversationId:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST or not value.isprintable():
        raise RefusedError(400, f"{param} must be text of 1 to {_LONGEST} printable characters", param=param)
    return ConversationId(value)


def _hashed(key_id: str, body: Mapping[str, Any]) -> ConversationId:
    messages = body.get("messages")
    if isinstance(messages, list):
        system, user = _first_words(messages)
    else:
        system, user = None, next((body[name] for name in ("prompt", "question", "input") if name in body), None)
    if isinstance(user, str) and (system is None or isinstance(system, str)):
        # Lengths keep the three apart: no two different triples give the same text.
        told = system or ""
        text = f"{len(key_id)},{len(told)},{system is None}:{key_id}{told}{user}".encode("utf-8", "surrogatepass")
    else:
        text = _bytes([key_id, system, user])
    return ConversationId("h_" + hashlib.sha256(text).hexdigest()[:32])


def _first_words(messages: Sequence[Any]) -> tuple[Any, Any]:
    """Return the content of the first system and of the first user message."""
    system: Any = _UNSAID
    user: Any = _UNSAID
    for item in messages:
        if not isinstance(item, dict):
            continue
        role = item.get("role")
        if user is _UNSAID and role == "user":
            user = item.get("content")
        elif system is _UNSAID and role in _SYSTEM:
            system = item.get("content")
        if system is not _UNSAID and user is not _UNSAID:
            break
    return None if system is _UNSAID else system, None if user is _UNSAID else user


def _bytes(value: list[Any]) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        raise RefusedError(400, "the request is nested too deeply", param="messages") from None
