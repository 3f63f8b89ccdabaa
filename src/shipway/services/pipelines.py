"""The pipeline of a project, its own or the derived one: stages with what their built-ins say, checked.

Commands, compilers and audits ask.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from shipway.config.loading import LoadedProject
from shipway.config.yaml_source import KeyPath, dotted
from shipway.core.errors import ConfigError, UsageError
from shipway.pipeline.builtins import Builtin, with_builtin_defaults
from shipway.pipeline.configured import configured_stages
from shipway.pipeline.graph import StageGraph, build_graph
from shipway.pipeline.spec import StageSpec
from shipway.pipeline.standard.derive import NIGHTLY, Derived
from shipway.services.default_pipeline import default_pipeline


def project_pipeline(loaded: LoadedProject, catalogue: Mapping[str, Builtin]) -> StageGraph:
    """Return the stages of a project, ready to be run, compiled or shown.

    Raises:
        ConfigError: a stage uses a built-in that is not there, or gives it options that it does not have.
        UsageError: the project has no pipeline section; `completed` gives it one.
    """
    if not loaded.project.pipeline:
        raise UsageError(
            "the project has no pipeline section", hint="add stages to shipway.yaml: run or uses, and needs"
        )
    stages = configured_stages(loaded.project.pipeline)
    check_builtins(stages, catalogue, loaded)
    return build_graph(with_builtin_defaults(stage, catalogue) for stage in stages)


def completed(loaded: LoadedProject) -> tuple[LoadedProject, Derived | None]:
    """Return a project that has a pipeline, and how it was derived; the derived one has a time for its schedule."""
    if loaded.project.pipeline:
        return loaded, None
    found = default_pipeline(loaded)
    ci = loaded.project.ci
    update = {"pipeline": dict(found.stages), "ci": ci.model_copy(update={"schedule": ci.schedule or NIGHTLY})}
    return replace(loaded, project=loaded.project.model_copy(update=update)), found


def check_builtins(stages: tuple[StageSpec, ...], catalogue: Mapping[str, Builtin], loaded: LoadedProject) -> None:
    """Check what the project file cannot know: which built-ins there are and which options they have.

    Raises:
        ConfigError: with every problem, one line each: file, line, key and value.
    """
    problems = [
        f"{loaded.nearest_place(path)}: {dotted(path)}: {said}"
        for stage in stages
        for path, said in _problems(stage, catalogue)
    ]
    if problems:
        raise ConfigError(problems, hint="`shipway pipeline list --builtins` shows all of them with their options")


def _problems(stage: StageSpec, catalogue: Mapping[str, Builtin]) -> Iterator[tuple[KeyPath, str]]:
    if stage.uses is None:
        return
    builtin = catalogue.get(stage.uses)
    if builtin is None:
        close = difflib.get_close_matches(stage.uses, catalogue, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        known = ", ".join(sorted(catalogue)) or "none"
        yield ("pipeline", stage.name, "uses"), f"{stage.uses!r} is not built in{meant} (there are: {known})"
        return
    try:
        builtin.options.model_validate(dict(stage.with_))
    except ValidationError as error:
        for item in error.errors(include_url=False):
            path = ("pipeline", stage.name, "with", *item["loc"])
            yield path, _said(dict(item), builtin)


def _said(item: dict[str, Any], builtin: Builtin) -> str:
    if item["type"] == "extra_forbidden":
        known = ", ".join(builtin.options.model_fields) or "none"
        return f"unknown option of {builtin.name}; its options: {known}"
    found = "" if item["type"] == "missing" else f", not {item['input']!r}"
    return f"{str(item['msg']).removeprefix('Value error, ')}{found}"
