"""Patterns of paths in `inputs` and `outputs`: what they match. Memory and the store of files share the meaning.

`*` and `?` stay within a folder, `**` crosses folders, `[ab]` is one of these; a path without any of them is that file,
or everything in that folder. `!` in front takes files out again.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

_MAGIC = re.compile(r"[*?\[]")
SKIPPED_FOLDERS = frozenset(
    {
        ".git",
        ".hypothesis",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".shipway",
        ".tox",
        ".venv",
        "__pycache__",
        "node_modules",
    }
)
"""What patterns with wildcards do not look into: caches and environments, which change without deciding a result."""


def matches_any(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether a path matches one of the patterns and none of those with `!`."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if _expression(pattern[1:]).fullmatch(path):
                return False
        elif not found:
            found = _expression(pattern).fullmatch(path) is not None
    return found


def fixed_part(pattern: str) -> str:
    """Return the folders or the path that stand before the first wildcard; empty for the project's folder."""
    parts = _normal(pattern).split("/")
    kept: list[str] = []
    for part in parts:
        if _MAGIC.search(part):
            break
        kept.append(part)
    return "/".join(kept)


def has_wildcard(pattern: str) -> bool:
    """Tell whether a pattern is more than one path."""
    return _MAGIC.search(pattern) is not None


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = _normal(pattern).split("/")
    if parts == [""]:
        return re.compile(".*", re.DOTALL)
    written = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            written += ".*" if last else "(?:[^/]+/)*"
        else:
            written += _segment(part) + ("" if last else "/")
    # A plain path may be a folder: it stands for all that is in it.
    return re.compile(written if _MAGIC.search(parts[-1]) else f"{written}(?:/.*)?", re.DOTALL)


def _segment(part: str) -> str:
    written, position = "", 0
    while position < len(part):
        character = part[position]
        end = part.find("]", position + 2) if character == "[" else -1
        if character == "*":
            written += "[^/]*"
        elif character == "?":
            written += "[^/]"
        elif end > 0:
            inner = part[position + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            written += f"[{'^' + inner[1:] if inner.startswith('!') else inner}]"
            position = end
        else:
            written += re.escape(character)
        position += 1
    return written


def _normal(pattern: str) -> str:
    return "/".join(part for part in pattern.split("/") if part not in ("", "."))
