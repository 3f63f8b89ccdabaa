"""What a configuration of GitLab CI asks for."""

from typing import Any

import yaml
from tests.unit.pipeline.compile.pipelines import CI, source

from shipway.pipeline.compile.gitlab import compile_gitlab
from shipway.pipeline.compile.plan import compile_plan
from shipway.pipeline.graph import build_graph
from shipway.pipeline.spec import Resources, StageSpec, When


def stage(name: str, **settings: Any) -> StageSpec:
    return StageSpec(name, run=("true",), **settings)


def configuration(*stages: StageSpec, folder: str = "") -> Any:
    return yaml.safe_load(compile_gitlab(compile_plan(source(build_graph(stages), CI, folder))))


def test_an_environment_that_asks_for_approval_waits_for_a_person() -> None:
    found = configuration(stage("a", environment="production"), stage("b", environment="staging"))

    assert found["a"]["rules"] == [{"when": "manual", "allow_failure": False}]
    assert found["b"]["rules"] == [{"when": "on_success"}]


def test_a_left_out_stage_does_not_hold_back_those_that_need_it() -> None:
    found = configuration(stage("a", when=When(events=("push",))), stage("b"), stage("c", needs=("a", "b")))

    needs = [{"job": "b", "artifacts": True}, {"job": "a", "artifacts": True, "optional": True}]
    assert sorted(found["c"]["needs"], key=str) == sorted(needs, key=str)


def test_changed_parts_are_compared_where_there_is_something_before() -> None:
    found = configuration(stage("a", when=When(changed=("code", "data"))), folder="app/")

    rules = {rule["if"].split(" ")[2]: rule.get("changes") for rule in found["a"]["rules"] if "==" in rule["if"]}
    paths = {"paths": ["app/code/**", "app/data/**"]}
    assert rules['"merge_request_event"'] == paths
    assert rules['"schedule"'] is None
    assert found["a"]["rules"][0]["changes"] == paths


def test_identity_group_cache_and_runner_are_asked_for_by_those_who_need_them() -> None:
    found = configuration(
        stage(
            "a", env=("SHIPWAY_ID_TOKEN",), inputs=("x",), concurrency="g", resources=Resources(gpus=4, gpu_type="l4")
        ),
        stage("b"),
        folder="app/",
    )

    assert found["a"]["id_tokens"] == {"SHIPWAY_ID_TOKEN": {"aud": "https://cloud.example.com"}}
    assert found["a"]["cache"] == {"key": "shipway-a", "paths": ["app/.shipway/pipeline/cache/"]}
    assert found["a"]["resource_group"] == "g"
    assert found["a"]["tags"] == ["gpu", "l4", "gpus-4"]
    assert not found["b"].keys() & {"id_tokens", "cache", "resource_group", "tags"}
    assert found["b"]["artifacts"]["expire_in"] == "14 days"


def test_a_branch_of_a_fork_is_not_ours_whatever_its_name() -> None:
    found = configuration(stage("a", when=When(branches=("main",), events=("pull_request",))))

    ours = "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_MERGE_REQUEST_PROJECT_ID"
    assert [ours in rule["if"].split(" && ") for rule in found["a"]["rules"]] == [True]
