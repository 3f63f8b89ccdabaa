"""What a Jenkinsfile asks for."""

from typing import Any

from tests.unit.pipeline.compile.pipelines import CI, source

from shipway.config.sections.ci import Ci
from shipway.pipeline.compile.jenkins import compile_jenkins
from shipway.pipeline.compile.plan import compile_plan
from shipway.pipeline.graph import build_graph
from shipway.pipeline.spec import StageSpec, When


def stage(name: str, **settings: Any) -> StageSpec:
    return StageSpec(name, run=("true",), **settings)


def jenkinsfile(*stages: StageSpec, ci: Ci = CI) -> str:
    return compile_jenkins(compile_plan(source(build_graph(stages), ci)))


def test_a_stage_waits_for_nothing_that_failed_and_is_marked_until_it_passed() -> None:
    text = jenkinsfile(stage("a"), stage("b", needs=("a",)), stage("c", needs=("b",)))
    lines = [line.strip() for line in text.splitlines()]

    assert "expression { started() && free(['a', 'b']) }" in lines
    run = next(number for number, line in enumerate(lines) if line.startswith("shipway pipeline run-stage a "))
    assert lines.index("failed.add('a')") < run < lines.index("failed.remove('a')")


def test_a_stage_that_may_fail_makes_the_build_unstable_at_most() -> None:
    text = jenkinsfile(stage("a", allow_failure=True), stage("b", needs=("a",)))

    assert "failed.add('a')" not in text
    assert "catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE') {" in text


def test_a_person_is_asked_after_the_conditions_and_before_a_machine_is_taken() -> None:
    text = jenkinsfile(stage("a", environment="production"), stage("b", environment="staging"))

    assert text.count("input { message 'a: go on to production?' }") == text.count("input {") == 1
    for asked in ("beforeAgent", "beforeInput", "beforeOptions"):
        assert text.count(f"{asked} true") == 2


def test_branch_names_are_matched_as_a_whole() -> None:
    text = jenkinsfile(stage("a", when=When(branches=("release/*", "v1.?"))))

    assert r"branch() && branch() ==~ /(release\/.*|v1\..)/ }" in text


def test_without_a_schedule_nothing_starts_by_itself() -> None:
    assert r"cron('TZ=UTC\n0 3 * * *')" in jenkinsfile(stage("a"))
    assert "cron(" not in jenkinsfile(stage("a"), ci=Ci())


def test_a_branch_of_a_fork_is_not_ours_whatever_its_name() -> None:
    assert "if (env.TAG_NAME || env.CHANGE_FORK) { return '' }" in jenkinsfile(stage("a"))
