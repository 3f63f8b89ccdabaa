"""Whether what evaluations name is there: schemas and functions of assertions, of metrics, suites, targets, judges.

The check of a project asks this, so that nothing of it is found out by a run that has begun.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio.to_thread
import orjson

from shipway.config.loading import LoadedProject
from shipway.config.yaml_source import KeyPath
from shipway.core.errors import DatasetError, ShipwayError, UsageError
from shipway.evals.assertion_types import Languages, SchemaFile
from shipway.evals.assertions import parse_assertions
from shipway.evals.contracts.source import read_source
from shipway.evals.dataset import DatasetFile
from shipway.evals.metric_names import functions_needed
from shipway.evals.smoke import parse_smoke
from shipway.evals.tools.expectations_results import suite_of
from shipway.services.dataset_files import entry_named, form_of, read_dataset_file
from shipway.services.judges.rubrics import judge_file_problems, read_named
from shipway.services.project_functions import imported
from shipway.services.project_lines import error_lines, tried
from shipway.services.targets.python_function import opened_function
from shipway.services.targets.recorded_log import opened_log

_SCHEMAS, _LANGUAGES = "shipway.evals.json_schemas", "shipway.evals.languages"
Look = Callable[[], object]


async def evaluation_problems(loaded: LoadedProject) -> list[str]:
    """Return what is wrong with what datasets and settings of evaluations name, a line each with file, line and key."""
    files = [file async for file in _files(loaded)]
    found = await anyio.to_thread.run_sync(lambda: [*case_problems(loaded.root, files), *_in_settings(loaded)])
    return [*found, *await _of_target(loaded)]


async def _files(loaded: LoadedProject) -> Any:
    """Yield each dataset that the project names; one that cannot be read is told of by others."""
    seen = set()
    for name in (loaded.project.evals.dataset, *loaded.project.datasets):
        entry = entry_named(loaded, name)
        shown = entry.path if entry else name
        if shown in seen:
            continue
        seen.add(shown)
        try:
            yield await read_dataset_file(loaded.root / shown, shown, form_of(entry))
        except (OSError, DatasetError):
            continue


def case_problems(root: Path | None, files: list[DatasetFile]) -> Iterator[str]:
    """Yield what is wrong with what cases name; without a project's root only what needs none of its files."""
    for file in files:
        known: set[object] = set()
        for case in file.dataset.cases:
            for key, subject, look in _named(case.assertions, "assert", root):
                # Many cases name the same file or function: it is said where it stands first.
                if subject not in known:
                    known.add(subject)
                    yield from _looked(f"{file.place(case.id)}: {key}", look)


def _named(entries: Any, at: str, root: Path | None) -> Iterator[tuple[str, object, Look]]:
    """Yield what the entries of an `assert` list name outside the dataset: its key, what it is, how to look at it."""
    for index, entry in enumerate(entries):
        key = f"{at}[{index}]"
        if isinstance(entry, Mapping) and isinstance(entry.get("assert"), list):
            yield from _named(entry["assert"], f"{key}.assert", root)
            continue
        (parsed,) = parse_assertions([entry])
        match parsed.value:
            case SchemaFile(path=path) if root is not None:
                yield f"{key}.file", ("schema", path), partial(_schema, root, path)
            case Languages(codes=codes):
                yield f"{key}.value", ("language", codes), partial(_languages, sorted(codes))
            case str(path) if parsed.type == "python" and root is not None:
                yield f"{key}.value", ("python", path), partial(imported, path, root)


def _looked(place: str, look: Look) -> Iterator[str]:
    try:
        look()
    except ShipwayError as error:
        yield f"{place}: {error.message}" + (f"; {error.hint}" if error.hint else "")


def _schema(root: Path, file: str) -> None:
    try:
        import_module(_SCHEMAS).compile_schema(orjson.loads(read_named(root, file)))
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error
    except UsageError as error:
        message = error.message if error.message.startswith(file) else f"{file}: {error.message}"
        raise UsageError(message, hint=error.hint) from error


def _languages(codes: list[str]) -> None:
    import_module(_LANGUAGES).check_languages(codes)


def _in_settings(loaded: LoadedProject) -> Iterator[str]:
    project, root = loaded.project, loaded.root
    named: list[tuple[KeyPath, str]] = [(("gates", at, "metric"), gate.metric) for at, gate in enumerate(project.gates)]
    named += [(("evals", "metrics", at), metric) for at, metric in enumerate(project.evals.metrics)]
    for key, metric in named:
        for path in functions_needed([metric]):
            yield from tried(loaded, key, partial(imported, path, root))
    for name, entry in project.datasets.items():
        if entry.expectations is not None:
            yield from tried(loaded, ("datasets", name, "expectations"), partial(_suite, root, entry.expectations))
    yield from judge_file_problems(loaded)
    if project.evals.smoke is not None:
        yield from tried(loaded, ("evals", "smoke"), partial(_smoke, root, project.evals.smoke))


def _suite(root: Path, file: str) -> None:
    suite_of(read_named(root, file), file)


def _smoke(root: Path, file: str) -> None:
    parse_smoke(read_source(read_named(root, file), file))


async def _of_target(loaded: LoadedProject) -> list[str]:
    target, root = loaded.project.evals.target, loaded.root
    try:
        if target is not None and target.python is not None:
            async with opened_function(target.python, root):
                pass
        if target is not None and target.log is not None:
            async with opened_log(root / target.log, target.log):
                pass
    except DatasetError as error:
        return error.problems
    except ShipwayError as error:
        key = ("evals", "target", "python" if target is not None and target.python is not None else "log")
        return [*error_lines(loaded, key, error)]
    return []
