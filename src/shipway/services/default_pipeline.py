"""Looking at a repository for the pipeline that is derived from it; `services.pipelines` asks."""

import configparser
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from shipway.config.loading import PROJECT_FILE, LoadedProject
from shipway.config.project import Project
from shipway.config.yaml_source import read_yaml
from shipway.core.errors import ShipwayError
from shipway.pipeline.patterns import SKIPPED_FOLDERS, has_wildcard
from shipway.pipeline.standard.derive import Derived, derived
from shipway.pipeline.standard.repository import Repository
from shipway.services.dataset_files import entry_named

_COMPOSE = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_INTEGRATION = "integration"
_TEST_FILES = ("test_*.py", "*_test.py")
_TERMS = b"must_contain"
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:\S+")
_REGISTRY = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)+(?::\d+)?|localhost(?::\d+)?)/[a-z0-9][a-z0-9._/-]*[a-z0-9]")
_LARGEST_BYTES = 1_000_000


def default_pipeline(loaded: LoadedProject) -> Derived:
    """Return the pipeline for a project that defines none."""
    return derived(repository(loaded))


def repository(loaded: LoadedProject) -> Repository:
    """Return what a project's folder has."""
    root, project = loaded.root, loaded.project
    is_file = partial(_file, root)
    tools = _settings(root)
    folder = next((name for name in ("tests", "test") if _has_file(root / name, _TEST_FILES)), "")
    beside = f"{folder}/{_INTEGRATION}"
    entry = entry_named(loaded, project.evals.dataset)
    dataset = is_file(entry.path if entry else project.evals.dataset)
    image = _image(root)
    settings = tuple(sorted({place.source for place in loaded.places.values() if is_file(place.source)}))
    return Repository(
        app=project.app,
        settings=tuple(dict.fromkeys((PROJECT_FILE, "configs/**", *(s for s in settings if s != PROJECT_FILE)))),
        parts=_parts(project),
        embedded=_embedded(project),
        python=_has_file(root, ("*.py",)),
        ruff=is_file("ruff.toml") or is_file(".ruff.toml") or tools.get("ruff", ""),
        black=tools.get("black", ""),
        mypy=is_file("mypy.ini") or is_file(".mypy.ini") or tools.get("mypy", ""),
        bandit=is_file(".bandit") or tools.get("bandit", ""),
        tests=folder if folder and _has_file(root / folder, _TEST_FILES, (_INTEGRATION,)) else "",
        integration=beside if folder and _has_file(root / beside, _TEST_FILES) else "",
        redis=project.redis is not None,
        dataset=dataset,
        terms=dataset if dataset and _holds(root / dataset, _TERMS) else "",
        gates=frozenset(_kinds(project)),
        **_retrieval(project),
        corpus=_corpus(root, project),
        dockerfile=is_file("Dockerfile"),
        image=image or project.app,
        registry=bool(image),
        smoke=is_file(project.evals.smoke or "evals/smoke.yaml"),
        load_plan=is_file("load.yaml") or is_file("evals/load.yaml"),
        chaos_plan=is_file("chaos.yaml") or is_file("evals/chaos.yaml"),
        staging=is_file("configs/staging.yaml"),
        strategy=project.rollout.strategy,
        contact=next((contact.how for contact in project.contacts if _SECRET.fullmatch(contact.how)), ""),
        branches=project.ci.branches,
    )


def _file(root: Path, name: str) -> str:
    """Return the name of a file that is there and inside the project, empty otherwise: a folder of the name is none."""
    return name if _inside(name) and (root / name).is_file() else ""


def _has_file(folder: Path, patterns: tuple[str, ...], skipped: tuple[str, ...] = ()) -> str:
    """Return the first file below a folder with a name like one of the patterns, empty without one."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and name not in skipped)
        for name in sorted(names):
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return (Path(place) / name).relative_to(folder).as_posix()
    return ""


def _corpus(root: Path, project: Project) -> str:
    if project.corpus is None or not _has_file(root / project.corpus.root, ("*",)):
        return ""
    return project.corpus.root.rstrip("/") if _plain(project.corpus.root) else ""


def _parts(project: Project) -> tuple[str, ...] | None:
    files = [entry.model for entry in project.models.values() if entry.model.endswith(".gguf")]
    named = (*project.prompts.values(), *files)
    if not all(_plain(name) for name in named) or not all(_inside(name) for name in project.code.paths):
        return None
    return tuple(dict.fromkeys((*project.code.paths, *named)))


def _embedded(project: Project) -> bool:
    here = all(entry.base_url is None for entry in project.models.values())
    return here and project.evals.judge is None and all(route.kind != "http" for route in project.routes.values())


def _inside(name: str) -> bool:
    return bool(name) and not name.startswith(("/", "~", "!")) and ".." not in PurePosixPath(name).parts


def _plain(name: str) -> bool:
    return _inside(name) and not has_wildcard(name)


def _settings(root: Path) -> dict[str, str]:
    """Return where tools are configured, by tool: sections of pyproject.toml and of setup.cfg."""
    found: dict[str, str] = {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(root / "setup.cfg"))
    except configparser.Error:
        parser.clear()
    found |= {name: "setup.cfg" for name in ("mypy", "bandit") if parser.has_section(name)}
    try:
        tools = tomllib.loads(_text(root / "pyproject.toml")).get("tool")
    except tomllib.TOMLDecodeError:
        tools = None
    if isinstance(tools, Mapping):
        found |= {str(name): "pyproject.toml" for name in tools}
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= _LARGEST_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _holds(path: Path, word: bytes) -> bool:
    """Tell whether a line of a file holds a word; who cannot be read holds none."""
    try:
        with path.open("rb") as lines:
            return any(word in line for line in lines)
    except OSError:
        return False


def _kinds(project: Project) -> Iterator[str]:
    for gate in project.gates:
        if gate.zero_tolerance:
            yield "safety"
        elif gate.non_regression is not None or gate.model_update:
            yield "regression"
        else:
            yield "limit"


def _retrieval(project: Project) -> dict[str, Any]:
    """Return the limits of the project's own gates that hold for retrieval, too."""
    least = {gate.metric: gate.min for gate in project.gates if gate.min is not None and not gate.tags}
    metric = next((name for name in least if name.startswith("recall_at_")), "")
    return {"recall_metric": metric, "recall_min": least.get(metric), "keyword_min": least.get("correct")}


def _image(root: Path) -> str:
    """Return where the image belongs that a compose file builds, without its tag; empty where no registry is named."""
    for name in _COMPOSE:
        if not _file(root, name):
            continue
        try:
            services = read_yaml(root / name, name).data.get("services")
        except ShipwayError:
            return ""
        for service in services.values() if isinstance(services, dict) else ():
            if isinstance(service, dict) and "build" in service:
                image = _without_tag(str(service.get("image", "")))
                if _REGISTRY.fullmatch(image):
                    return image
    return ""


def _without_tag(image: str) -> str:
    return re.sub(r":[^/:]*$", "", image.partition("@")[0])
