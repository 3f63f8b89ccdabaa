"""Headings, commands and links of Markdown files, without what stands in code or comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import dirname, join, normpath

_FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+(.+?)\s*#*$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(\s*<?([^)\s>]+)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Page:
    """One page: headings and commands by line, and the files that it links to, relative to the repository."""

    path: str
    headings: tuple[tuple[int, str], ...]
    commands: tuple[tuple[int, str], ...]
    links: tuple[tuple[int, str], ...]


def parse_page(path: str, text: str) -> Page:
    """Return what a page holds."""
    blank = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    headings, commands, links = [], [], []
    fence = ""
    for number, line in enumerate(blank.splitlines(), start=1):
        found = _FENCE.match(line)
        if found is not None and (not fence or found[1].startswith(fence)):
            fence = "" if fence else found[1]
        elif fence:
            commands.append((number, line.strip().removeprefix("$ ")))
        else:
            heading = _HEADING.match(line)
            if heading is not None:
                headings.append((number, heading[1]))
            commands += [(number, code[1]) for code in _CODE.finditer(line)]
            plain = _CODE.sub("", line)
            links += [(number, target) for link in _LINK.finditer(plain) if (target := _target(path, link[1]))]
    return Page(path, tuple(headings), tuple(commands), tuple(links))


def pages(texts: Iterator[tuple[str, str]]) -> tuple[Page, ...]:
    """Return the pages of files."""
    return tuple(parse_page(path, text) for path, text in texts)


def _target(path: str, link: str) -> str:
    if "://" in link or link.startswith(("#", "mailto:")):
        return ""
    return normpath(join(dirname(path), link.partition("#")[0])).lstrip("/")
