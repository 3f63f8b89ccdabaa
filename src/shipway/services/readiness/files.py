"""The files of a project, as an audit reads them: what git would check out, or what lies there without git."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from shipway.readiness.facts import Repository

_LARGEST_TEXT_BYTES = 262_144
_MOST_FILES = 50_000
_NOT_OURS = frozenset(
    {".git", ".shipway", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".pytest_cache"}
)


def read_repository(root: Path, names: Iterable[str] | None) -> Repository:
    """Return the files of a folder; `names` are those that git lists, None for a folder without git.

    Links are not followed: what they lead to may lie outside.
    """
    named = (name for name in (_walked(root) if names is None else names) if not name.startswith(".shipway/"))
    listed = sorted(named)[:_MOST_FILES]
    paths = [name for name in listed if (root / name).is_file() and not (root / name).is_symlink()]
    texts = {name: text for name in paths if (text := _text(root / name)) is not None}
    return Repository(frozenset(paths), texts)


def _walked(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _NOT_OURS)
        for name in names:
            yield (Path(folder) / name).relative_to(root).as_posix()


def _text(path: Path) -> str | None:
    try:
        if path.stat().st_size > _LARGEST_TEXT_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None
