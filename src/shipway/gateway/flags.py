"""Feature flags: a flagd document, checked and compiled once, evaluated for each request.

The watcher's snapshot carries the document; routing rules and the OFREP endpoints ask. The targeting key is the
conversation, so that a share of users keeps its variant for as long as the conversation lasts.

Source: flagd's flag definition format, version 0; reasons and error codes from the OpenFeature specification.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from shipway.core.errors import UsageError
from shipway.gateway.json_logic import FLAGD, Context, Logic, compiled

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FIELDS = frozenset({"state", "variants", "defaultVariant", "targeting", "metadata"})
_SCALARS = (str, int, float, bool)
_LARGEST_BYTES = 1 << 20
_DEEPEST_REF = 16
_MOST_NODES = 20_000


class Reason(StrEnum):
    """Why a flag has its value."""

    STATIC = "STATIC"
    TARGETING_MATCH = "TARGETING_MATCH"
    DEFAULT = "DEFAULT"


class FlagErrorCode(StrEnum):
    """Why a flag has no value."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    GENERAL = "GENERAL"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A flag's value; with an `error` there is none and the asking code's default holds."""

    key: str
    value: Any = None
    variant: str = ""
    reason: Reason = Reason.DEFAULT
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: FlagErrorCode | None = None
    details: str = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """One compiled flag."""

    key: str
    enabled: bool
    variants: Mapping[str, Any]
    default: str | None
    targeting: Logic | None
    metadata: Mapping[str, Any]


class FlagSet:
    """All flags of one snapshot."""

    def __init__(self, flags: Mapping[str, Flag]) -> None:
        self._flags = flags

    def value(self, key: str, context: Context, *, now_s: float) -> Any:
        """Return a flag's value, None when it has none."""
        return self.evaluate(key, context, now_s=now_s).value

    def evaluate(self, key: str, context: Context, *, now_s: float) -> Evaluated:
        """Return what a flag says to a context."""
        flag = self._flags.get(key)
        if flag is None or not flag.enabled:
            what = "is disabled" if flag else "does not exist"
            return Evaluated(key, error=FlagErrorCode.FLAG_NOT_FOUND, details=f"the flag {key[:100]!r} {what}")
        if flag.targeting is None:
            return _default(flag, Reason.STATIC)
        within = {**context, FLAGD: {"flagKey": key, "timestamp": int(now_s)}}
        try:
            found = flag.targeting(within)
        except (TypeError, ValueError, ArithmeticError, RecursionError, AttributeError) as error:
            return Evaluated(key, error=FlagErrorCode.GENERAL, details=f"the targeting failed: {type(error).__name__}")
        if found is None:
            return _default(flag, Reason.DEFAULT)
        variant = ("true" if found else "false") if isinstance(found, bool) else found
        if not isinstance(variant, str) or variant not in flag.variants:
            details = f"the targeting chose {str(variant)[:100]!r}, which is no variant"
            return Evaluated(key, error=FlagErrorCode.GENERAL, details=details)
        return Evaluated(key, flag.variants[variant], variant, Reason.TARGETING_MATCH, flag.metadata)

    def evaluate_all(self, context: Context, *, now_s: float) -> list[Evaluated]:
        """Return what every enabled flag says, by key."""
        return [self.evaluate(key, context, now_s=now_s) for key, flag in sorted(self._flags.items()) if flag.enabled]


def _default(flag: Flag, reason: Reason) -> Evaluated:
    if flag.default is None:
        return Evaluated(flag.key, None, "", Reason.DEFAULT, flag.metadata)
    return Evaluated(flag.key, flag.variants[flag.default], flag.default, reason, flag.metadata)


def compile_flags(document: Mapping[str, Any]) -> FlagSet:
    """Return the flags of a flagd document; an empty document has none.

    Raises:
        UsageError: with every problem, one a line, each naming flag and place.
    """
    try:
        size_bytes = len(orjson.dumps(document))
    except TypeError as error:
        raise UsageError(f"the flags are no JSON document: {error}") from error
    if size_bytes > _LARGEST_BYTES:
        raise UsageError(f"the flags are {size_bytes} bytes; they may be {_LARGEST_BYTES}")
    definitions = document.get("flags", {})
    evaluators = document.get("$evaluators", {})
    if not isinstance(definitions, Mapping) or not isinstance(evaluators, Mapping):
        raise UsageError("flags and $evaluators must be objects")
    flags: dict[str, Flag] = {}
    problems: list[str] = []
    for key, definition in definitions.items():
        try:
            flags[key] = compile_flag(key, definition, evaluators)
        except UsageError as error:
            problems.append(error.message)
    if problems:
        raise UsageError("\n".join(problems), hint="correct the flag definition; the flags in force are unchanged")
    return FlagSet(flags)


def compile_flag(key: str, definition: Any, evaluators: Mapping[str, Any]) -> Flag:
    """Return one flag.

    Raises:
        UsageError: the definition is not one.
    """
    where = f"flags.{key}"
    if not _KEY.fullmatch(key):
        raise UsageError(f"flags[{key[:60]!r}]: a key has 1 to 128 letters, digits, '.', '_' and '-'")
    if not isinstance(definition, Mapping):
        raise UsageError(f"{where}: must be an object with state, variants and defaultVariant")
    unknown = sorted(set(definition) - _FIELDS)
    if unknown:
        raise UsageError(f"{where}.{unknown[0]}: unknown key; known here: {', '.join(sorted(_FIELDS))}")
    state = definition.get("state")
    if state not in {"ENABLED", "DISABLED"}:
        raise UsageError(f"{where}.state: must be ENABLED or DISABLED, not {state!r}")
    variants = _variants(definition.get("variants"), f"{where}.variants")
    default = definition.get("defaultVariant")
    if default is not None and default not in variants:
        raise UsageError(f"{where}.defaultVariant: {default!r} is not in variants ({', '.join(variants)})")
    metadata = definition.get("metadata", {})
    if not isinstance(metadata, Mapping) or not all(isinstance(value, _SCALARS) for value in metadata.values()):
        raise UsageError(f"{where}.metadata: must be an object of texts, numbers and booleans")
    targeting = definition.get("targeting") or None
    logic = compiled(_Resolving(evaluators, f"{where}.targeting").resolved(targeting, 0), f"{where}.targeting")
    return Flag(key, state == "ENABLED", variants, default, logic if targeting else None, metadata)


def _variants(found: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping) or not found:
        raise UsageError(f"{where}: must be an object of at least one variant")
    kinds = {_kind(value) for value in found.values()}
    if len(kinds) > 1:
        raise UsageError(f"{where}: all values must be of one type, these are {', '.join(sorted(kinds))}")
    if kinds == {"null"}:
        raise UsageError(f"{where}: a value cannot be null")
    return found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "object"
    return "list" if isinstance(value, list) else "null"


class _Resolving:
    """Replaces references; bounded, so that a small document cannot unfold into a huge one."""

    def __init__(self, evaluators: Mapping[str, Any], where: str) -> None:
        self._evaluators = evaluators
        self._where = where
        self._nodes = 0

    def resolved(self, node: Any, depth: int) -> Any:
        """Return a node without references; `depth` counts those that led here."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UsageError(f"{self._where}: unfolds into more than {_MOST_NODES} parts; use fewer $ref")
        if isinstance(node, list):
            return [self.resolved(item, depth) for item in node]
        if not isinstance(node, Mapping):
            return node
        if set(node) != {"$ref"}:
            return {key: self.resolved(value, depth) for key, value in node.items()}
        name = node["$ref"]
        if not isinstance(name, str) or name not in self._evaluators:
            known = ", ".join(sorted(self._evaluators)) or "it is empty"
            raise UsageError(f"{self._where}: {name!r} is not in $evaluators ({known})")
        if depth >= _DEEPEST_REF:
            raise UsageError(f"{self._where}: $evaluators refer to each other in a circle, at {name!r}")
        return self.resolved(self._evaluators[name], depth + 1)
