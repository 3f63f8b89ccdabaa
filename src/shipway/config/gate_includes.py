"""Gates from other files: `{include: gates/rag.yaml}` in `gates` stands for the list of gates in that file.

`loading` puts them in place before the project is validated, so that a problem in one is reported with the line of the
included file. An included file holds `gates:` with a list and includes nothing itself.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from shipway.config.yaml_source import KeyPath, Place, YamlFile, dotted, read_yaml
from shipway.core.errors import ConfigError, NotFoundError

GATES = "gates"
_INCLUDE = "include"


def expand_gates(data: dict[str, Any], places: dict[KeyPath, Place], root: Path | None) -> None:
    """Put the gates of included files in the place of what includes them; `places` follow.

    `root` is the project's folder; with None what is included is left out, for processes that judge nothing and must
    not depend on files that only commands read.

    Raises:
        ConfigError: every include that cannot be read, with the line that asks for it.
    """
    listed = data.get(GATES)
    if not isinstance(listed, list) or not any(_includes(item) for item in listed):
        return
    problems: list[str] = []
    gates: list[Any] = []
    moved: dict[KeyPath, Place] = {}
    for index, item in enumerate(listed):
        if not _includes(item):
            _move(places, index, moved, len(gates))
            gates.append(item)
            continue
        if root is None:
            continue
        try:
            found = _included(item, root)
        except (ConfigError, NotFoundError) as error:
            lines = error.problems if isinstance(error, ConfigError) else [error.message]
            problems += [_said(places, (GATES, index), line) for line in lines]
            continue
        for offset, gate in enumerate(found.data[GATES]):
            _move(found.places, offset, moved, len(gates))
            gates.append(gate)
    if problems:
        raise ConfigError(problems, hint="correct the include, or write the gates into the project file")
    for path in [path for path in places if path[0:1] == (GATES,) and len(path) > 1]:
        del places[path]
    places.update(moved)
    data[GATES] = gates


def _includes(item: Any) -> bool:
    return isinstance(item, dict) and _INCLUDE in item


def _included(item: dict[str, Any], root: Path) -> YamlFile:
    name = item[_INCLUDE]
    if len(item) > 1:
        others = ", ".join(key for key in item if key != _INCLUDE)
        raise ConfigError([f"{_INCLUDE} stands alone; move {others} into the included file"])
    if not isinstance(name, str) or not name:
        raise ConfigError([f"{_INCLUDE}: must be the path of a file, not {name!r}"])
    if PurePosixPath(name).is_absolute() or not (root / name).resolve().is_relative_to(root.resolve()):
        raise ConfigError([f"{_INCLUDE}: {name!r} is outside the project's folder"])
    try:
        found = read_yaml(root / name, name)
    except NotFoundError:
        raise ConfigError([f"{_INCLUDE}: {name}: no such file"]) from None
    return _checked(found, name)


def _checked(found: YamlFile, name: str) -> YamlFile:
    gates = found.data.get(GATES)
    unknown = [key for key in found.data if key != GATES]
    if unknown or not isinstance(gates, list):
        what = f"has {unknown[0]!r}" if unknown else "has none"
        raise ConfigError([f"{name}: an included file holds a list `{GATES}:` and nothing else; this one {what}"])
    for index, gate in enumerate(gates):
        if _includes(gate):
            place = found.places.get((GATES, index), Place(name))
            raise ConfigError([f"{place}: {dotted((GATES, index))}: an included file cannot include another"])
    return found


def _move(places: dict[KeyPath, Place], index: int, into: dict[KeyPath, Place], to: int) -> None:
    for path, place in places.items():
        if path[:2] == (GATES, index):
            into[(GATES, to, *path[2:])] = place


def _said(places: dict[KeyPath, Place], path: KeyPath, message: str) -> str:
    place = places.get(path) or places.get(path[:1]) or Place("gates")
    return f"{place}: {dotted(path)}: {message}"
