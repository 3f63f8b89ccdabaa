"""The digest of a plan: any other definition has another one."""

import json
from dataclasses import fields, replace

import pytest

from shipway.pipeline.graph import build_graph
from shipway.pipeline.plan import plan_digest, plan_document
from shipway.pipeline.spec import Limit, Resources, StageSpec, When

FIRST = StageSpec("a", run=("x",))
OTHER: dict[str, object] = {
    "run": ("y",),
    "timeout_s": 1.0,
    "retries": 1,
    "allow_failure": True,
    "env": ("CI",),
    "inputs": ("src",),
    "outputs": ("dist",),
    "metrics": "m.json",
    "gate": (Limit("x", min=1.0),),
    "report": "r.xml",
    "tools": ("ruff",),
    "image": "i",
    "retry_on": (75,),
    "resources": Resources(gpus=1),
    "when": When(events=("push",)),
    "cache": False,
    "environment": "production",
    "concurrency": "deploy",
    "shards": 2,
    "with_": {"a": 1},
}


def digest(stage: StageSpec, version: str = "1") -> str:
    return plan_digest(build_graph([stage]), version)


@pytest.mark.parametrize("name", sorted({item.name for item in fields(StageSpec)} - {"name", "uses", "entry", "needs"}))
def test_every_setting_of_a_stage_is_in_the_digest(name: str) -> None:
    assert digest(replace(FIRST, **{name: OTHER[name]})) != digest(FIRST)  # type: ignore[arg-type]


def test_what_is_run_and_what_is_needed_is_in_the_digest() -> None:
    kinds = [FIRST, StageSpec("a", uses="x"), StageSpec("a", entry="x:y"), StageSpec("b", run=("x",))]
    assert len({digest(stage) for stage in kinds}) == len(kinds)
    apart = plan_digest(build_graph([FIRST, StageSpec("b", run=("x",))]), "1")
    assert plan_digest(build_graph([FIRST, StageSpec("b", run=("x",), needs=("a",))]), "1") != apart


def test_the_version_is_in_the_digest() -> None:
    assert digest(FIRST, "1") != digest(FIRST, "2")


def test_the_document_is_json_and_names_every_setting() -> None:
    document = json.loads(json.dumps(plan_document(build_graph([FIRST]), "1")))
    assert set(document["stages"][0]) == {item.name for item in fields(StageSpec)} - {"with_"} | {"with"}
