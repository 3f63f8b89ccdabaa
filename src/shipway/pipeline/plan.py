"""The plan: all stages as one JSON document with a digest, so that a job of a CI system runs what was compiled.

The compilers write the digest into every job, `pipeline run-stage` and `pipeline run --resume` compare it.
"""

from dataclasses import asdict, fields
from typing import Any

from shipway.core.canonical import digest_json
from shipway.core.ids import Digest
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.spec import Resources, StageSpec, When

PLAN_SCHEMA = 1
_RESOURCES, _WHEN = asdict(Resources()), asdict(When())


def stage_document(stage: StageSpec) -> dict[str, Any]:
    """Return a stage as JSON values."""
    document = {item.name: getattr(stage, item.name) for item in fields(stage)}
    document["with"] = document.pop("with_")
    return document | {
        "gate": [asdict(limit) for limit in stage.gate],
        "resources": _RESOURCES if stage.resources == Resources() else asdict(stage.resources),
        "when": _WHEN if stage.when.always else asdict(stage.when),
    }


def plan_document(graph: StageGraph, version: str) -> dict[str, Any]:
    """Return the plan: schema, the version of Shipway, and every stage in running order."""
    stages = [stage_document(stage) for stage in graph.stages.values()]
    return {"schema": PLAN_SCHEMA, "shipway": version, "stages": stages}


def plan_digest(graph: StageGraph, version: str) -> Digest:
    """Return the digest of a plan; another stage, another setting or another version of Shipway is another plan."""
    return digest_json(plan_document(graph, version))
