"""A derived pipeline as the section of a project file, for those who want to change it; `pipeline init` writes it."""

import textwrap
from typing import Any

from shipway.config.sections.pipeline import Stage
from shipway.pipeline.compile.yaml_text import yaml_text
from shipway.pipeline.standard.derive import Derived

_HEADER = """The stages from commit to production, as they were derived from what this repository has.
A pull request checks and evaluates; a push deploys; --event model_update compares with production; the schedule tests
all. `shipway pipeline run --dry-run --event push --branch main` shows what a run would do."""


def pipeline_section(pipeline: Derived, schedule: str = "") -> str:
    """Return the section `pipeline` as YAML, each stage below what it is from; with `schedule` the section `ci` too.

    Read back it is the same pipeline.
    """
    lines = [f"# {line}" for line in _HEADER.splitlines()]
    lines.append("pipeline:")
    for name, stage in pipeline.stages.items():
        lines.append(f"  # from {pipeline.because[name]}")
        lines += textwrap.indent(yaml_text({name: document(stage)}, "", compact=True), "  ").splitlines()
    if schedule:
        lines += ["", "# When the schedule starts it, in UTC.", f'ci: {{ schedule: "{schedule}" }}']
    return "\n".join(lines) + "\n"


def document(stage: Stage) -> dict[str, Any]:
    """Return what a stage says, without what it leaves to the defaults."""
    return stage.model_dump(mode="json", by_alias=True, exclude_defaults=True)
