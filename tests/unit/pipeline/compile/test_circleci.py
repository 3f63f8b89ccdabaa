"""What a configuration of CircleCI asks for."""

from typing import Any

import yaml
from tests.unit.pipeline.compile.pipelines import plain_ci, source

from shipway.pipeline.compile.circleci import compile_circleci
from shipway.pipeline.compile.plan import compile_plan
from shipway.pipeline.graph import build_graph
from shipway.pipeline.spec import StageSpec, When


def stage(name: str, **settings: Any) -> StageSpec:
    return StageSpec(name, run=("true",), **settings)


def configuration(*stages: StageSpec) -> Any:
    return yaml.safe_load(compile_circleci(compile_plan(source(build_graph(stages), plain_ci()))))


def test_what_a_left_out_stage_needed_is_required_in_its_place() -> None:
    found = configuration(
        stage("a"), stage("b", needs=("a",), when=When(events=("schedule",))), stage("c", needs=("b",))
    )

    assert found["workflows"]["shipway-push-1"]["jobs"] == [{"a": {}}, {"c": {"requires": ["a"]}}]
    jobs = [{"a": {}}, {"b": {"requires": ["a"]}}, {"c": {"requires": ["b"]}}]
    assert found["workflows"]["shipway-schedule-1"]["jobs"] == jobs


def test_an_environment_is_a_context_and_its_approval_a_job_before() -> None:
    found = configuration(stage("a"), stage("b", needs=("a",), environment="production", concurrency="ship"))

    assert found["workflows"]["shipway-push-1"]["jobs"][1:] == [
        {"approve-b": {"type": "approval", "requires": ["a"]}},
        {
            "b": {
                "requires": ["a", "approve-b"],
                "context": ["production"],
                "serial-group": "<< pipeline.project.slug >>/ship",
            }
        },
    ]


def test_a_tag_starts_jobs_only_by_filters() -> None:
    found = configuration(stage("a", when=When(events=("tag",))))

    [entry] = found["workflows"]["shipway-tag-1"]["jobs"]
    assert entry["a"]["filters"] == {"tags": {"only": "/.*/"}, "branches": {"ignore": "/.*/"}}


def test_there_is_one_workflow_for_each_answer_about_the_branch() -> None:
    found = configuration(stage("a", when=When(branches=("main",))), stage("b"))

    pushes = {name: flow for name, flow in found["workflows"].items() if "push" in name}
    asked = {"matches": {"pattern": "^(main)$", "value": "<< pipeline.git.branch >>"}}
    assert [flow["when"]["and"][-1] for flow in pushes.values()] == [asked, {"not": asked}]
    assert [[*entry] for flow in pushes.values() for entry in flow["jobs"]] == [["a"], ["b"], ["b"]]
