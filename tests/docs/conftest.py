"""The documentation as the tests read it: pages, and the fenced blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language and its text."""

    place: str
    language: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    name: str
    text: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(f"{self.name}:{self.text.count(chr(10), 0, found.start()) + 1}", found[1], found[2])
            for found in _FENCE.finditer(self.text)
        ]

    @property
    def prose(self) -> str:
        return _FENCE.sub("", self.text)


def read(name: str) -> Page:
    return Page(name, (ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    files = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    return [read(path.relative_to(ROOT).as_posix()) for path in sorted(files)]


@pytest.fixture(scope="session")
def page():
    return read
