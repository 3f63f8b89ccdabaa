"""What differs between a committed CI file and what the definition compiles to now, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_MOST = 12
_LONGEST = 80


def drift(committed: str | None, compiled: str) -> list[str]:
    """Return what has drifted, empty when the file is byte for byte what would be written."""
    if committed == compiled:
        return []
    if committed is None:
        return ["the file is not there"]
    before, now = _parsed(committed), _parsed(compiled)
    found = list(_differences(before, now, "")) if isinstance(before, Mapping) and isinstance(now, Mapping) else []
    found = found or [_first_line(committed, compiled)]
    more = len(found) - _MOST
    return [*found[:_MOST], *([f"and {more} more"] if more > 0 else [])]


def _parsed(text: str) -> Any:
    try:
        return yaml.load(text, _Plain)  # noqa: S506 - a SafeLoader that takes everything for text
    except (yaml.YAMLError, ValueError):
        return None


class _Plain(yaml.SafeLoader):
    """Reads every scalar as text: `on` is a key here."""


_Plain.yaml_implicit_resolvers = {}


def _differences(before: Any, now: Any, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            name = f"{path}.{key}" if path else str(key)
            if key not in now:
                yield f"{name}: is in the file, and not in the pipeline"
            elif key not in before:
                yield f"{name}: is missing in the file"
            else:
                yield from _differences(before[key], now[key], name)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _differences(old, new, f"{path}[{index}]")
    elif before != now:
        yield f"{path}: is {_short(before)}, and the pipeline says {_short(now)}"


def _first_line(committed: str, compiled: str) -> str:
    old, new = committed.splitlines(), compiled.splitlines()
    for number, (was, now) in enumerate(zip(old, new, strict=False), 1):
        if was != now:
            return f"line {number}: is {_short(was)}, and the pipeline says {_short(now)}"
    if len(old) == len(new):
        return "line ends differ"
    return f"the file has {len(old)} lines, and the pipeline {len(new)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
