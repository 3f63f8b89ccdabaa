"""From packaged templates to the files of a project; `shipway init` prints the plan, then applies it.

A template's file ends in `.tmpl`; a name that begins with `dot_` gets a dot, because a real `.gitignore` among the
templates would hide files of this package. `$name` and `${name}` are replaced, `$$` is a dollar sign.
"""

import re
import unicodedata
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from string import Template
from typing import get_args

from shipway.core.errors import UsageError
from shipway.scaffold.model import FilePlan, ProjectKind

_SUFFIX = ".tmpl"
_HIDDEN = "dot_"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NOT_IN_A_NAME = re.compile(r"[^a-z0-9_]+")
# Letters that Unicode does not take apart into a plain one and a mark.
_PLAIN = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l"})
_LONGEST_NAME = 63


def plan_project(kind: ProjectKind, name: str) -> tuple[FilePlan, ...]:
    """Return the files of a new project, in path order.

    Raises:
        UsageError: no such kind, or a name that an app cannot have.
    """
    if kind not in get_args(ProjectKind):
        raise UsageError(f"no project of kind {kind!r}", hint=f"there are {', '.join(get_args(ProjectKind))}")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be an app's name: lower-case letters, digits, - and _, a letter first, 63 at most",
            hint=f"try {suggested_name(name)!r}",
        )
    templates = files("shipway.scaffold") / "templates"
    found = [*_templates(templates / "shared", PurePosixPath()), *_templates(templates / kind, PurePosixPath())]
    planned = {path: FilePlan(path, Template(text).substitute(name=name)) for path, text in found}
    return tuple(planned[path] for path in sorted(planned))


def suggested_name(text: str) -> str:
    """Return an app's name that is close to a text, such as that of a folder."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold().translate(_PLAIN))
    letters = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    name = _NOT_IN_A_NAME.sub("-", letters).lstrip("0123456789-_")[:_LONGEST_NAME].rstrip("-_")
    return name or "app"


def plan_lines(plan: tuple[FilePlan, ...]) -> list[str]:
    """Return the plan for people, one line a file."""
    width = max((len(str(file.path)) for file in plan), default=0)
    return [f"{str(file.path).ljust(width)}  {file.size_bytes} bytes" for file in plan]


def _templates(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            name = entry.name.removesuffix(_SUFFIX)
            shown = "." + name.removeprefix(_HIDDEN) if name.startswith(_HIDDEN) else name
            yield path / shown, entry.read_text(encoding="utf-8")
