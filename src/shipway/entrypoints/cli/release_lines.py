"""The lines of `shipway release diff`: settings as old -> new, texts as unified diffs of bounded length."""

import json
from collections.abc import Iterator

from shipway.registry.difference import Change
from shipway.registry.texts import TextChange
from shipway.services.release_differences import ComparedReleases

_LONGEST_VALUE = 60
_LONGEST_LINE = 200
_LINES_PER_TEXT = 40
_LINES_OF_ALL_TEXTS = 200


def difference_lines(found: ComparedReleases) -> list[str]:
    """Return what changed, for people; `--json` has what is cut here."""
    changes = found.difference
    parts = ", ".join(changes.parts) or "nothing"
    lines = [f"{changes.before} -> {changes.after}: {parts} changed; evaluation {changes.evaluation}"]
    for change in found.other_changes:
        lines += _change_lines(change)
    left = _LINES_OF_ALL_TEXTS
    for text in found.texts:
        shown = min(len(text.diff), _LINES_PER_TEXT, left)
        left -= shown
        lines += _text_lines(text, shown)
    return lines


def _change_lines(change: Change) -> Iterator[str]:
    name = f"  {change.part:7} {change.key}:"
    before, after = _value(change.before), _value(change.after)
    if max(len(before), len(after)) <= _LONGEST_VALUE:
        yield f"{name} {before} -> {after}"
        return
    yield name
    yield _cut(f"    - {before}")
    yield _cut(f"    + {after}")


def _text_lines(text: TextChange, shown: int) -> Iterator[str]:
    name = text.key.removeprefix("files.") if text.part == "code" else text.key.removesuffix(".digest")
    yield f"  {text.part:7} {name}: {_versions(text)}".rstrip(": ")
    yield from (_cut(f"    {line}") for line in text.diff[:shown])
    if shown < len(text.diff):
        yield f"    … {len(text.diff) - shown} more lines; --json has them all"


def _versions(text: TextChange) -> str:
    if text.path_before is None:
        return "new"
    if text.path_after is None:
        return "removed"
    if not (text.version_before or text.version_after):
        return ""
    if text.version_before == text.version_after:
        return f"version {text.version_after} on both sides, the text differs"
    return f"version {text.version_before or '(none)'} -> {text.version_after or '(none)'}"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if value is not None else "(none)"


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
