"""Compiled pipelines are valid for the validators that others wrote for each CI system."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from tests.tools import validators
from tests.unit.pipeline.compile.pipelines import graphs, plain_ci, source, without

from shipway.pipeline.compile.argo import compile_argo
from shipway.pipeline.compile.circleci import compile_circleci
from shipway.pipeline.compile.github import compile_github
from shipway.pipeline.compile.gitlab import compile_gitlab
from shipway.pipeline.compile.jenkins import compile_jenkins
from shipway.pipeline.compile.plan import CompilePlan, compile_plan, reusable
from shipway.pipeline.graph import StageGraph

pytestmark = [pytest.mark.tools, pytest.mark.timeout(600)]
_FILES = 40


@pytest.fixture(scope="module")
def graphs_found() -> list[StageGraph]:
    """Random pipelines."""
    found: list[StageGraph] = []

    @settings(max_examples=_FILES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(graphs())
    def collect(graph: StageGraph) -> None:
        found.append(graph)

    collect()
    return found


@pytest.fixture(scope="module")
def plans(graphs_found: list[StageGraph]) -> list[CompilePlan]:
    """The same as they are compiled: at the root and in a folder of the repository, every other stage asks models."""
    folders = ("", "app/")
    found = [(source(graph, folder=folders[number % 2]), graph) for number, graph in enumerate(graphs_found)]
    return [compile_plan(replace(of, models=True, asking=frozenset([*graph.stages][::2]))) for of, graph in found]


def written(folder: Path, plans: list[CompilePlan], write: Callable[[CompilePlan], str], suffix: str) -> list[Path]:
    folder.mkdir(parents=True)
    files = [folder / f"p{number}{suffix}" for number in range(len(plans))]
    for file, plan in zip(files, plans, strict=True):
        file.write_text(write(plan), encoding="utf-8")
    return files


def test_workflows_are_valid_for_actionlint_and_the_schema_of_github(plans, tmp_path):
    files = written(tmp_path / "workflows", plans, compile_github, ".yml")

    assert validators.schema_problems("vendor.github-workflows", files) == ""
    assert validators.actionlint_problems(files) == []


def test_reusable_workflows_are_valid_too(plans, tmp_path):
    def write(plan: CompilePlan) -> str:
        stage = plan.jobs[-1].stage
        return compile_github(reusable(plan, stage), stage)

    files = written(tmp_path / "workflows", plans, write, ".yml")

    assert validators.schema_problems("vendor.github-workflows", files) == ""
    assert validators.actionlint_problems(files) == []


def test_actionlint_finds_what_is_wrong(plans, tmp_path):
    def broken(plan: CompilePlan) -> str:
        return compile_github(plan).replace("!cancelled()", "!canceled()").replace("timeout-minutes", "timeout-hours")

    files = written(tmp_path / "workflows", plans[:2], broken, ".yml")

    assert any("timeout-hours" in line for line in validators.actionlint_problems(files))
    assert "timeout-hours" in validators.schema_problems("vendor.github-workflows", files)


def test_workflows_are_safe_for_zizmor(plans, tmp_path):
    files = written(tmp_path / "workflows", plans, compile_github, ".yml")

    assert validators.zizmor_problems(files) == []


def test_configurations_are_valid_for_the_schema_of_gitlab(plans, tmp_path):
    files = written(tmp_path / "gitlab", plans, compile_gitlab, ".gitlab-ci.yml")

    assert validators.schema_problems("vendor.gitlab-ci", files, "--data-transform", "gitlab-ci") == ""
    files[0].write_text(files[0].read_text().replace("expire_in", "expires"))
    assert "expires" in validators.schema_problems("vendor.gitlab-ci", files[:1], "--data-transform", "gitlab-ci")


def test_manifests_are_valid_for_the_models_of_argo(plans, tmp_path):
    files = written(tmp_path / "argo", plans, compile_argo, ".yaml")

    assert validators.argo_problems(files) == []
    files[0].write_text(files[0].read_text().replace("activeDeadlineSeconds", "deadline").replace("dag:", "dog:"))
    found = validators.argo_problems(files[:1])
    assert any(".deadline" in problem for problem in found)


def test_configurations_are_valid_for_the_schema_and_the_parser_of_circleci(graphs_found, tmp_path):
    refused = ("pushes", "changed", "branches", "parts", "gpus")
    plans = [compile_plan(source(without(graph, *refused), plain_ci())) for graph in graphs_found]
    files = written(tmp_path / "circleci", plans, compile_circleci, ".yml")

    assert validators.schema_problems("vendor.circle-ci", files) == ""
    assert validators.circleci_problems(files) == []
    files[0].write_text(files[0].read_text().replace("persist_to_workspace", "persist"))
    assert len(validators.circleci_problems(files[:1])) == 1


def test_jenkinsfiles_are_valid_for_the_compiler_of_groovy(graphs_found, tmp_path):
    plans = [compile_plan(source(without(graph, "changed", "identity"))) for graph in graphs_found]
    files = written(tmp_path / "jenkins", plans, compile_jenkins, ".Jenkinsfile")

    assert validators.groovy_problems(files, tmp_path) == ""
    files[0].write_text(files[0].read_text().replace("parallel {", "parallel {{"))
    assert "Unexpected input" in validators.groovy_problems(files[:1], tmp_path)
