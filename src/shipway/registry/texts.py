"""What changed in a text of a release, line by line: prompts, code files and settings that are prose.

`services/release_differences` reads the texts, the CLI shows what is found here.
"""

import difflib
from dataclasses import dataclass

from shipway.registry.model import PartKind


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a release; `version` is what its author calls it, empty where a text carries no version."""

    path: str
    content: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class TextChange:
    """One text that differs; `diff` are the lines of a unified diff, without line ends.

    `key` is the manifest's key whose digest changed with it. Paths and versions are None on the side that lacks the
    text.
    """

    part: PartKind
    key: str
    path_before: str | None
    path_after: str | None
    version_before: str | None
    version_after: str | None
    diff: tuple[str, ...]


def text_change(part: PartKind, key: str, before: Text | None, after: Text | None) -> TextChange:
    """Return what changed from one text to another; None stands for a text that is not there."""
    diff = difflib.unified_diff(
        _lines(before),
        _lines(after),
        before.path if before else "(not there)",
        after.path if after else "(not there)",
        lineterm="",
    )
    return TextChange(
        part,
        key,
        before.path if before else None,
        after.path if after else None,
        before.version if before else None,
        after.version if after else None,
        tuple(diff),
    )


def _lines(text: Text | None) -> list[str]:
    if text is None:
        return []
    # Only "\n" ends a line here: a changed line end is a change and must show.
    *lines, last = text.content.replace("\r", "\\r").split("\n")
    return [*lines, f"{last} (no line end)"] if last else lines
