"""Masking of everything that is logged; `logs.configure` puts a `Masker` right before the renderer.

Unknown is dropped: an object without a plain form is logged by the name of its type, because its repr may quote a user.
"""

import re
from collections.abc import Mapping
from datetime import date
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Protocol

DROPPED = "[dropped]"

_BODY_KEYS = frozenset({
    "prompt", "question", "answer", "messages", "content", "body", "text", "input", "output", "passage",
    "authorization", "api_key", "secret", "password", "token",
})  # fmt: skip
_MAX_DEPTH = 8
_CARD_DIGITS = 13
"""The shortest card number. Source: ISO/IEC 7812, as issued."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")

# Possessive, and only from a run's first character: a long run without an @ must cost one pass, not one per character.
_EMAIL = re.compile(r"(?<![\w.+'-])[\w.+'-]++(?:@|%40)\[?[\w-]+(?:\.[\w-]+)*\]?")
_SECRET_PAIR = re.compile(
    r"\b(api[_-]?key|access[_-]?key|token|secret|password|passwd|authorization)(\"?\s*[=:]\s*\"?)(?:(?:bearer|basic)\s+)?"
    r"[^\s\"&,;]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.IGNORECASE)
_KEY = re.compile(r"(?<![A-Za-z0-9])(?:sk|pk|swk)[-_][A-Za-z0-9_-]{6,}")
# Content digests and release ids are hexadecimal and may hold a long run of digits by chance; they are not personal.
_DIGITS = re.compile(rf"(\bsha256:[0-9a-f]{{64}}\b|\brel_[0-9a-f]{{12,64}}\b)|\d(?:[ .-]?\d){{{_CARD_DIGITS - 1},}}")


class Masker(Protocol):
    """Takes out of a log event what must not be stored."""

    def mask(self, event_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return what may be written."""
        ...


class DropBodies:
    """The default: fields that carry bodies or secrets are dropped by name, patterns are masked in all others."""

    def mask(self, event_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the event without bodies, secrets, addresses and card-like numbers."""
        return {mask_text(str(key)): _field(str(key), value, 0) for key, value in event_dict.items()}


def mask_text(text: str) -> str:
    """Return text with e-mail addresses, keys and digit runs of 13 or more replaced."""
    text = _SECRET_PAIR.sub(r"\1\2[secret]", text)
    text = _BEARER.sub(r"\1 [secret]", text)
    text = _KEY.sub("[secret]", text)
    text = _EMAIL.sub("[email]", text)
    return _DIGITS.sub(lambda match: match[1] or "[number]", text)


@lru_cache(8192)
def mask_name(name: str) -> str:
    """Return `mask_text` of a name that comes back often: a user, a conversation, a document."""
    return mask_text(name)


def carries_body(key: str) -> bool:
    """Return whether a field of this name is dropped: a body word, alone or as the last of several.

    `user_prompt`, `userPrompt` and `X-Api-Key` are; `tokens`, `prompt_version` and `context` are not.
    """
    words = _SEPARATORS.sub("_", _CAMEL.sub("_", key).lower()).strip("_").split("_")
    return words[-1] in _BODY_KEYS or "_".join(words[-2:]) in _BODY_KEYS or words[-1] == "apikey"


def _field(key: str, value: Any, depth: int) -> Any:
    return DROPPED if carries_body(key) else _value(value, depth)


def _value(value: Any, depth: int) -> Any:
    if depth >= _MAX_DEPTH:
        return DROPPED
    match value:
        case Enum():
            return _value(value.value, depth + 1)
        case Mapping():
            return {mask_text(str(key)): _field(str(key), item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_value(item, depth + 1) for item in value]
        case _:
            return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case int() | float():
            return "[number]" if abs(value) >= 10 ** (_CARD_DIGITS - 1) else value
        case str() | PurePath():
            return mask_text(str(value))
        case date():
            return value.isoformat()
        case _:
            return f"[{type(value).__name__}]"
