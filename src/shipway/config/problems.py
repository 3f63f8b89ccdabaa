"""Turning what pydantic finds into lines for a person: file, line, key, what is wrong, what was found.

Called by `loading`.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from shipway.config.credentials import names_a_secret
from shipway.config.project import BrokenReferencesError, Project
from shipway.config.yaml_source import KeyPath, Place, dotted

_LONGEST_SHOWN = 60
_LIST, _MAPPING, _WHOLE, _NUMBER, _BOOLEAN, _TEXT = (
    "a list",
    "a mapping",
    "a whole number",
    "a number",
    "true or false",
    "text (put it in quotes)",
)
# pydantic's error type to what had to stand there; `{name}` is filled from the error's context.
_EXPECTED = {
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "string_type": _TEXT,
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "path_type": _TEXT,
    "literal_error": "{expected}",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "string_pattern_mismatch": "a name of lower-case letters, digits, '-' and '_' that begins with a letter",
}


@dataclass(frozen=True, slots=True)
class KeyProblem:
    """A key that is wrong, in words; `kind` is pydantic's type of its first error."""

    path: KeyPath
    message: str
    kind: str


def key_problems(error: ValidationError, data: Mapping[str, Any]) -> list[KeyProblem]:
    """Return what is wrong, once for each key."""
    found: dict[KeyPath, list[Any]] = {}
    for item in error.errors(include_url=False, include_input=False):
        found.setdefault(_real_path(item, data), []).append(item)
    # Of a list pydantic counts what is right alone.
    for path in [path for path, items in found.items() if _is_long_enough(items[0], path, data)]:
        del found[path]
    return [
        KeyProblem(path, message, items[0]["type"])
        for place, items in found.items()
        for path, message in _at_path(place, items, data)
    ]


def placed(problem: KeyProblem, places: Mapping[KeyPath, Place], source: str) -> str:
    """Return the line for a problem; `source` stands where no key of `places` is near."""
    return f"{_place(problem.path, places, source)}: {dotted(problem.path)}: {problem.message}"


def _at_path(path: KeyPath, items: list[Any], data: Any) -> Iterable[tuple[KeyPath, str]]:
    first = items[0]
    if first["type"] == "extra_forbidden":
        return [(path, "unknown key" + _suggestion(path))]
    if first["type"] in {"missing", "too_short"}:
        return [(path, _absent(first))]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, BrokenReferencesError):
        return cause.problems
    # A value with several allowed kinds gives one item a kind.
    expected = [text for item in items if (text := _expected(item))]
    if not expected:
        return [(path, first["msg"].removeprefix("Value error, "))]
    if first["loc"] and first["loc"][-1] == "[key]":
        return [(path, f"the key must be {expected[0]}")]
    return [(path, f"must be {' or '.join(dict.fromkeys(expected))}{_found(path, _value(data, path))}")]


def _is_long_enough(item: Any, path: KeyPath, data: Any) -> bool:
    return item["type"] == "too_short" and len(_value(data, path)) >= _least(item)


def _least(item: Any) -> int:
    return int(item["ctx"]["min_length"])


def _absent(item: Any) -> str:
    if item["type"] == "missing":
        return "required key is missing"
    entries = item["ctx"]["actual_length"]
    counted = f"{entries or 'no'} {'entry' if entries == 1 else 'entries'}"
    return f"the list has {counted}; it needs {_least(item)} at least"


def _expected(item: Any) -> str:
    return _EXPECTED.get(item["type"], "").format(**item.get("ctx", {}))


def _found(path: KeyPath, value: Any) -> str:
    if names_a_secret(path):
        return ""
    if isinstance(value, dict):
        return ", not a mapping"
    if isinstance(value, list):
        return ", not a list"
    shown = json.dumps(value, ensure_ascii=False)
    return f", not {shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + '…'}"


def _real_path(item: Any, data: Any) -> KeyPath:
    """Return an error's path without what pydantic adds to it: the kind of a union it tried, `[key]`."""
    path: KeyPath = tuple(item["loc"])
    if item["type"] == "missing":
        return path
    while path and not _exists(data, path):
        path = path[:-1]
    return path


def _exists(data: Any, path: KeyPath) -> bool:
    try:
        _value(data, path)
    except (LookupError, TypeError):
        return False
    return True


def _value(data: Any, path: KeyPath) -> Any:
    for part in path:
        if isinstance(data, str):
            raise TypeError("text has no parts")
        data = data[part]
    return data


def _place(path: KeyPath, places: Mapping[KeyPath, Place], source: str) -> Place:
    while path and path not in places:
        path = path[:-1]
    return places[path] if path else Place(source)


def _suggestion(path: KeyPath) -> str:
    close = close_key(path)
    if close is not None:
        return f"; did you mean {close!r}?"
    known = _known_keys(path[:-1])
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def close_key(path: KeyPath) -> str | None:
    """Return the known key that an unknown one resembles."""
    close = difflib.get_close_matches(str(path[-1]), _known_keys(path[:-1]), n=1, cutoff=0.6)
    return close[0] if close else None


@cache
def _schema() -> dict[str, Any]:
    """Return the schema of a project file, which takes 30 ms to make; nobody changes it."""
    return Project.model_json_schema()


def _known_keys(path: KeyPath) -> list[str]:
    schema = _schema()
    definitions = schema.get("$defs", {})
    node: dict[str, Any] = schema
    for part in path:
        node = _step(_resolved(node, definitions), part)
    return list(_resolved(node, definitions).get("properties", {}))


def _step(node: dict[str, Any], part: str | int) -> dict[str, Any]:
    if isinstance(part, int):
        found = node.get("items", {})
    else:
        patterns = iter(node.get("patternProperties", {}).values())
        found = node.get("properties", {}).get(part) or node.get("additionalProperties") or next(patterns, {})
    return found if isinstance(found, dict) else {}


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rsplit("/", 1)[1]], definitions)
    for choice in node.get("anyOf", []):
        if "$ref" in choice:
            return _resolved(choice, definitions)
    return node
