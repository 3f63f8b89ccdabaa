"""The key of an answer: everything that can decide it, and nothing that cannot. Pure.

Two requests share an answer only when tenant, release, route, surface, form, the caller's document groups and all
that the engine is asked are equal. What is left out is named here, field by field: a field that decides the answer and
is forgotten gives one user another's answer.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shipway.gateway.cache_model import CacheKey, Form

# How the answer travels, who asked within the tenant, and the engine's own bookkeeping: none of them changes its words.
LEFT_OUT = frozenset({"stream", "stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key"})
# An embedding sees about 256 word pieces; two longer questions could differ where it does not look.
_LONGEST_QUESTION = 800
_PLACE_OF_QUESTION = {"shipway": "the question stood here"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request is asked of.

    `surface` is the endpoint, `engine` the address that would be asked ("" for a rag route), `groups` what the caller
    may read (rag), so that two callers of one tenant with other rights never share an answer.
    """

    tenant: str
    release: str
    route: str
    surface: str
    engine: str = ""
    groups: tuple[str, ...] = ()


def exact_key(scope: Scope, asked: Mapping[str, Any], form: Form) -> CacheKey | None:
    """Return the key of a request; None for one that cannot be written as JSON and so is not cached.

    `asked` is what reaches the engine: the release's prompt and decoding and the caller's fields together.
    """
    return _key(scope, {name: value for name, value in asked.items() if name not in LEFT_OUT}, str(form))


def semantic_scope(scope: Scope, asked: Mapping[str, Any], form: Form) -> tuple[CacheKey, str] | None:
    """Return the key of all requests that differ in the last user message alone, and that message.

    None when there is no such message, it is not plain text, not the last message, or too long to be compared.
    """
    messages = asked.get("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        return None
    last = messages[-1]
    question = last.get("content") if isinstance(last, Mapping) and last.get("role") == "user" else None
    if not isinstance(question, str) or not question.strip() or len(question) > _LONGEST_QUESTION:
        return None
    rest = [*messages[:-1], {**last, "content": _PLACE_OF_QUESTION}]
    fields = {name: value for name, value in asked.items() if name not in LEFT_OUT}
    key = _key(scope, {**fields, "messages": rest}, f"semantic/{form}")
    return None if key is None else (key, question)


def is_deterministic(asked: Mapping[str, Any], *, surface: str = "") -> bool:
    """Tell whether asking again would give the same answer: temperature 0, a seed, or an embedding."""
    if surface == "embeddings":
        return True
    temperature = asked.get("temperature")
    is_cold = isinstance(temperature, int | float) and not isinstance(temperature, bool) and temperature == 0
    return is_cold or asked.get("seed") is not None


def _key(scope: Scope, fields: Mapping[str, Any], kind: str) -> CacheKey | None:
    where = [scope.tenant, scope.release, scope.route, scope.surface, scope.engine, sorted(set(scope.groups)), kind]
    try:
        # Objects sorted by key, lists in order, every part inside one JSON array: no two requests give the same bytes.
        raw = orjson.dumps([where, fields], option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None
    return CacheKey(scope.release, hashlib.blake2b(raw, digest_size=20).hexdigest())
