"""`shipway pipeline init`: the derived pipeline as a section of shipway.yaml, for those who want to change it."""

from typing import Annotated

import typer

from shipway.core.errors import UsageError
from shipway.entrypoints.cli.options import DebugOption, JsonOption, ProjectOption
from shipway.entrypoints.cli.output import emit
from shipway.entrypoints.pipeline_parts import Pipelines
from shipway.entrypoints.wiring import load
from shipway.pipeline.standard.write import document
from shipway.services.pipeline_file import append_pipeline, section_for


def init(
    *,
    write: Annotated[bool, typer.Option("--write", help="Append it to shipway.yaml instead of printing it.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the pipeline that is derived from the repository as the section of shipway.yaml, or write it there."""
    del debug
    loaded = load(project)
    found = Pipelines.of(loaded)
    if found.derived is None:
        place = loaded.nearest_place(("pipeline",))
        raise UsageError(
            f"{place}: the project has a pipeline of its own", hint="show it: `shipway pipeline list`, `graph`"
        )
    section = section_for(loaded, found.loaded.project.ci.schedule, found.derived)
    body = {
        "pipeline": {name: document(stage) for name, stage in found.derived.stages.items()},
        "from": dict(found.derived.because),
        "missing": list(found.derived.missing),
        "written": write,
    }
    if not write:
        emit(body, section.splitlines(), as_json=as_json)
        return
    path = append_pipeline(loaded.root, found.derived, section)
    said = [f"{path}: {len(found.derived.stages)} stages written"]
    if ("ci",) in loaded.places and not loaded.project.ci.schedule:
        said.append(f'to compile it for a CI system, give ci a time: schedule: "{found.loaded.project.ci.schedule}"')
    emit(body, said, as_json=as_json)
