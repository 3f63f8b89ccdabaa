"""Writing a derived pipeline into the project file, below all that stands there; `pipeline init` calls it."""

import shutil
from pathlib import Path

from pydantic import ValidationError

from shipway.config.loading import PROJECT_FILE, LoadedProject
from shipway.config.sections.pipeline import Stage
from shipway.config.yaml_source import read_yaml
from shipway.core.disk import explained
from shipway.core.errors import ConfigError, UsageError
from shipway.pipeline.standard.derive import Derived
from shipway.pipeline.standard.write import pipeline_section


def section_for(loaded: LoadedProject, schedule: str, pipeline: Derived) -> str:
    """Return the section as YAML; the schedule's time comes with it where the project file has no section `ci`."""
    return pipeline_section(pipeline, "" if ("ci",) in loaded.places else schedule)


def append_pipeline(root: Path, pipeline: Derived, section: str) -> Path:
    """Write a section at the end of the project file; every line that is there stays as it is.

    Raises:
        UsageError: nothing can be appended to the file so that it is read back as the same pipeline.
        StoreError: the disk refuses.
    """
    path = (root / PROJECT_FILE).resolve()
    part = path.with_name(path.name + ".part")
    with explained(path, "cannot be written"):
        before = path.read_text(encoding="utf-8")
        part.write_text(f"{before.rstrip()}\n\n{section}", encoding="utf-8", newline="\n")
    try:
        _check(path, part, pipeline)
        with explained(path, "cannot be written"):
            shutil.copymode(path, part)
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _check(path: Path, part: Path, pipeline: Derived) -> None:
    hint = "put the section there by hand: `shipway pipeline init` prints it"
    try:
        old, new = read_yaml(path, PROJECT_FILE).data, read_yaml(part, PROJECT_FILE).data
        found = {name: Stage.model_validate(body) for name, body in dict(new.pop("pipeline")).items()}
    except (ConfigError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: nothing can be appended to it: {error}", hint=hint) from error
    if "ci" not in old:
        new.pop("ci", None)
    if old != new or found != dict(pipeline.stages):
        raise UsageError(f"{path}: what is appended to it would be read as something else", hint=hint)
