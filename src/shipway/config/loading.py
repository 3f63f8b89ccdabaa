"""From files and environment to one validated project, with the origin of every value.

Order, later wins: defaults, `shipway.yaml`, `configs/<APP_ENV>.yaml`, environment variables `SHIPWAY__SECTION__KEY`.
Mappings are merged, lists and single values replaced. Called by every command that works on a project.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from shipway.config.credentials import credentials_in
from shipway.config.gate_includes import expand_gates
from shipway.config.project import Project
from shipway.config.salvage import salvage
from shipway.config.yaml_source import KeyPath, Place, dotted, parse_yaml_value, read_yaml
from shipway.core.errors import ConfigError, NotFoundError

PROJECT_FILE = "shipway.yaml"
_OVERLAYS = "configs"
_NO_PROJECT = "run `shipway init` or change to the project's folder"
_OVERRIDE_PREFIX = "SHIPWAY__"
_DEFAULT = Place("default")
_ENVIRONMENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True)
class LoadedProject:
    """A valid project: its folder, its environment's name, its settings and where each came from."""

    root: Path
    environment: str
    project: Project
    places: dict[KeyPath, Place]

    def origin(self, path: KeyPath) -> Place:
        """Return where the value at a key path came from; what a given mapping leaves out is a default."""
        return self.places.get(path, _DEFAULT)

    def nearest_place(self, path: KeyPath) -> Place:
        """Return where a person looks for the value at a key path: its line or its mapping's."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path] if path else Place(PROJECT_FILE)


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds a project file.

    Raises:
        NotFoundError: there is none.
        ConfigError: something of that name is no file: a folder, a link to nothing.
    """
    for folder in (start, *start.parents):
        path = folder / PROJECT_FILE
        if path.is_file():
            return folder
        _refuse_no_file(path)
    raise NotFoundError(
        f"no {PROJECT_FILE} in {start} or above it", hint="run `shipway init`, or name the folder with --project"
    )


def _refuse_no_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        hint = "mend the link, or remove it and run `shipway init`"
        raise ConfigError([f"{path} is a link to {path.readlink()}, which is not there"], hint=hint)
    if path.is_dir():
        hint = "rename the folder, or name the project's folder with --project"
        raise ConfigError([f"{path} is a folder, not the project file"], hint=hint)


def project_files(root: Path, environment: str) -> list[Path]:
    """Return the files that the settings of an environment are read from."""
    named = (root / PROJECT_FILE, root / _OVERLAYS / f"{environment}.yaml")
    return [path for path in named if path.is_file()]


def load_project(root: Path, environ: Mapping[str, str], files: Path | None = None) -> LoadedProject:
    """Load, overlay and validate the project in `root`; `files` is where its files were copied to, if they were.

    Raises:
        ConfigError: with every problem found, one line each.
        NotFoundError: no project file, or `APP_ENV` names an environment without an overlay file.
    """
    loaded, problems = load_what_is_valid(root, environ, files)
    if problems or loaded is None:
        raise ConfigError(problems, hint="correct these lines; `shipway config schema` describes every key")
    return loaded


def load_what_is_valid(
    root: Path, environ: Mapping[str, str], files: Path | None = None
) -> tuple[LoadedProject | None, list[str]]:
    """Return the project without what is wrong in it, and a line for each thing that is.

    None stands for a project of which too little is left. `shipway config check` goes on with the rest to the files.

    Raises:
        ConfigError: a file cannot be read as YAML, or holds a credential in clear text.
        NotFoundError: no project file, or `APP_ENV` names an environment without an overlay file.
    """
    environment = environ.get("APP_ENV", "local")
    if not _ENVIRONMENT_NAME.fullmatch(environment):
        raise ConfigError([f"environment variable APP_ENV: {environment!r} is not a name like staging"])
    folder = files or root
    base = read_yaml(folder / PROJECT_FILE, PROJECT_FILE, hint=_NO_PROJECT)
    data, places = base.data, dict(base.places)
    overlay = folder / _OVERLAYS / f"{environment}.yaml"
    if overlay.is_file():
        extra = read_yaml(overlay, f"{_OVERLAYS}/{environment}.yaml")
        _merge(data, extra.data, (), places, extra.places)
    elif environment != "local":
        raise NotFoundError(
            f"APP_ENV is {environment!r}, but there is no {_OVERLAYS}/{environment}.yaml",
            hint=f"environments here: {', '.join(_environments(root)) or 'local alone'}",
        )
    _override(data, places, environ)
    # Processes that read copied files judge nothing; what only commands read must not stop them.
    expand_gates(data, places, None if files is not None else root)
    _refuse_credentials(data, places)
    try:
        return LoadedProject(root, environment, Project.model_validate(data), places), []
    except ValidationError:
        found = salvage(data, places, PROJECT_FILE)
    loaded = None if found.project is None else LoadedProject(root, environment, found.project, found.places)
    return loaded, found.problems


def flattened(section: BaseModel) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every leaf of a section with its key path, for `shipway config show`."""
    yield from _leaves(section.model_dump(mode="json"), ())


def _environments(root: Path) -> list[str]:
    return sorted({"local"} | {path.stem for path in (root / _OVERLAYS).glob("*.yaml")})


def _merge(
    data: dict[str, Any],
    extra: dict[str, Any],
    path: KeyPath,
    places: dict[KeyPath, Place],
    extra_places: dict[KeyPath, Place],
) -> None:
    for key, value in extra.items():
        here = (*path, key)
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            _merge(data[key], value, here, places, extra_places)
            continue
        _forget(here, places)
        places.update({known: place for known, place in extra_places.items() if known[: len(here)] == here})
        data[key] = value


def _forget(path: KeyPath, places: dict[KeyPath, Place]) -> None:
    for old in [known for known in places if known[: len(path)] == path]:
        del places[old]


def _override(data: dict[str, Any], places: dict[KeyPath, Place], environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith(_OVERRIDE_PREFIX):
            continue
        source = f"environment variable {name}"
        path = tuple(part.lower() for part in name.removeprefix(_OVERRIDE_PREFIX).split("__"))
        target = data
        for depth, key in enumerate(path[:-1], start=1):
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError([f"{source}: {dotted(path[:depth])} is not a mapping, so it has no {path[depth]!r}"])
            target = inner
        value = target[path[-1]] = parse_yaml_value(environ[name], source)
        _forget(path, places)
        places.update(dict.fromkeys(_paths(value, path), Place(source)))


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _paths(item, (*path, key))


def _refuse_credentials(data: dict[str, Any], places: dict[KeyPath, Place]) -> None:
    problems = [
        f"{places.get(path, PROJECT_FILE)}: {dotted(path)}: this looks like a credential in clear text;"
        " write {env: NAME} or {file: path} instead, and rotate it"
        for path in credentials_in(data)
    ]
    if problems:
        raise ConfigError(problems)


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value
