"""What a CI file cannot hold or a CI system cannot say is refused with stage, key and reason."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pipeline.compile.pipelines import CI, source

from shipway.config.sections.ci import Ci
from shipway.core.errors import ConfigError
from shipway.pipeline.compile.argo import compile_argo
from shipway.pipeline.compile.circleci import compile_circleci
from shipway.pipeline.compile.github import compile_github
from shipway.pipeline.compile.gitlab import compile_gitlab
from shipway.pipeline.compile.jenkins import compile_jenkins
from shipway.pipeline.compile.plan import CompilePlan, Source, compile_plan, reusable
from shipway.pipeline.graph import StageGraph, build_graph
from shipway.pipeline.spec import Resources, StageSpec, When

HOURS = 3600.0


NO_TIERS = CI.model_copy(update={"tiers": {}})


def plan(*stages: StageSpec, ci: Ci = NO_TIERS) -> CompilePlan:
    return compile_plan(source(build_graph(stages), ci))


def stage(name: str = "a", **settings: Any) -> StageSpec:
    return StageSpec(name, run=("true",), **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"env": ("A-B",)}, "pipeline.a.env: 'A-B' is not carried into a CI file; allowed are letters, digits and _"),
        ({"environment": "${{ secrets.X }}"}, "pipeline.a.environment: '${{ secrets.X }}' is not carried"),
        ({"concurrency": "$(rm)"}, "pipeline.a.concurrency: '$(rm)' is not carried"),
        ({"image": "x$Y"}, "pipeline.a.image: 'x$Y' is not carried"),
        ({"outputs": ("a\nb",)}, r"pipeline.a.outputs: 'a\nb' is not carried"),
        ({"outputs": ("-rf",)}, "pipeline.a.outputs: '-rf' is not carried"),
        ({"metrics": "{{x}}"}, "pipeline.a.metrics: '{{x}}' is not carried"),
        ({"when": When(branches=("it's",))}, 'pipeline.a.when.branches: "it\'s" is not carried'),
        ({"when": When(branches=("[ab]",))}, "pipeline.a.when.branches: '[ab]' is not carried"),
        ({"when": When(events=("tag",), branches=("main",))}, "pipeline.a.when.branches: a tag is on no branch"),
        ({"when": When(events=("schedule",), tiers=("pr",))}, "pipeline.a.when: nothing starts it: ci.tiers gives"),
    ],
)
def test_no_target_takes(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(stage(**settings), ci=CI)

    assert said in caught.value.message


@given(st.text(min_size=1, max_size=12))
def test_a_name_with_anything_to_interpret_is_refused(name: str) -> None:
    try:
        found = compile_github(plan(stage(name)))
    except ConfigError:
        return
    assert name.isascii()
    assert not set(name) & set("${}`'\"()<>|;&\\ \n")
    assert f"run-stage {name} " in found


def test_settings_that_ask_for_what_is_not_given_are_refused() -> None:
    graph = build_graph([stage(env=("SHIPWAY_ID_TOKEN",), when=When(events=("schedule",)))])

    with pytest.raises(ConfigError) as caught:
        compile_plan(Source(graph, source(graph).digest, "1"))

    assert caught.value.problems == [
        "pipeline.a.when.events: it runs on schedule, and ci.schedule does not say when that is",
        "pipeline.a.env: SHIPWAY_ID_TOKEN asks for an identity token, and ci.audience does not say for whom",
    ]


GITHUB, GITLAB, ARGO = compile_github, compile_gitlab, compile_argo
CIRCLECI, JENKINS = compile_circleci, compile_jenkins
GPUS = Resources(gpus=2, gpu_type="l4")
PUSHES = ("push", "pull_request")


@pytest.mark.parametrize(
    ("write", "stages", "said"),
    [
        (
            GITHUB,
            [stage(when=When(branches=("a*b*c",)))],
            "pipeline.a.when.branches: GitHub Actions has no patterns in",
        ),
        (GITHUB, [stage(when=When(branches=("v?",)))], "'v?' is more than a beginning, an end or a middle"),
        (GITHUB, [stage(when=When(branches=("ab*ba",)))], "'ab*ba' is more than"),
        (GITHUB, [stage(timeout_s=6 * HOURS)], "GitHub Actions ends a job on its own machines after 360 minutes, and"),
        (GITHUB, [stage(timeout_s=200 * HOURS)], "pipeline.a.timeout_s: GitHub Actions ends a job after 7200 minutes"),
        (GITHUB, [stage("shipway-changes")], "GitHub Actions has a job of this name that finds out what changed"),
        (GITHUB, [stage(shards=2, concurrency="g")], "cancels the others, and its other shards may wait"),
        (GITHUB, [stage(concurrency="g"), stage("b", concurrency="g")], "cancels the others, and b may wait"),
        (GITLAB, [stage("pages")], "pipeline.pages.name: GitLab CI takes a job of this name for something else"),
        (GITLAB, [stage("image")], "pipeline.image.name: GitLab CI"),
        (GITLAB, [stage(timeout_s=800 * HOURS)], "pipeline.a.timeout_s: GitLab CI ends a job after a month"),
        (GITLAB, [stage(shards=201)], "pipeline.a.shards: GitLab CI makes at most 200 jobs of one"),
        (
            GITLAB,
            [stage(environment="production", allow_failure=True)],
            "pipeline.a.allow_failure: GitLab CI does not wait for the approval of environment production",
        ),
        (
            GITLAB,
            [*(stage(f"s{n}") for n in range(51)), stage("z", needs=tuple(f"s{n}" for n in range(51)))],
            "pipeline.z.needs: GitLab CI lets a job need 50 others, and this builds on 51",
        ),
        (ARGO, [stage("pipeline")], "Argo Workflows knows pipeline already: it is the pipeline itself"),
        (ARGO, [stage("approval")], "knows approval already: it is the step that waits for a person"),
        (
            ARGO,
            [stage("approve-a"), stage("a", environment="production")],
            "pipeline.a.name: Argo Workflows knows approve-a already: it is of stage approve-a",
        ),
        (ARGO, [stage("u-1-of-2"), stage("u", shards=2)], "pipeline.u.name: Argo Workflows knows u-1-of-2 already"),
        (ARGO, [stage(outputs=("*.txt",))], "pipeline.a.outputs: Argo Workflows keeps files and folders, and '*.txt'"),
        (CIRCLECI, [stage(when=When(events=("push",)))], "a.when.events: CircleCI does not tell a pull request from a"),
        (
            CIRCLECI,
            [stage(when=When(events=PUSHES, changed=("code",)))],
            "pipeline.a.when.changed: CircleCI chooses its",
        ),
        (CIRCLECI, [stage(shards=2), stage("b", needs=("a",))], "pipeline.a.shards: CircleCI does not hand on what"),
        (CIRCLECI, [stage(timeout_s=6 * HOURS)], "pipeline.a.timeout_s: CircleCI ends a job after 300 minutes, and"),
        (CIRCLECI, [stage(resources=GPUS)], "pipeline.a.resources.gpus: CircleCI knows GPUs by one resource class"),
        (CIRCLECI, [stage(outputs=("*.txt",))], "pipeline.a.outputs: CircleCI keeps files and folders, and '*.txt'"),
        (
            CIRCLECI,
            [stage("approve-a"), stage("a", environment="production")],
            "pipeline.approve-a.name: CircleCI has a job of this name that waits for a person",
        ),
        (
            CIRCLECI,
            [stage(f"s{n}", when=When(branches=(f"b{n}",))) for n in range(4)],
            "pipeline.s0, s1, s2, s3.when.branches: CircleCI needs a workflow for every answer; 3 lists are the most",
        ),
        (JENKINS, [stage(when=When(changed=("code",)))], "pipeline.a.when.changed: Jenkins does not say what a build"),
        (JENKINS, [stage(env=("SHIPWAY_ID_TOKEN",))], "pipeline.a.env: Jenkins gives no identity tokens by itself"),
    ],
)
def test_one_target_cannot_say(write: Callable[[CompilePlan], str], stages: list[StageSpec], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write(plan(*stages))

    assert said in caught.value.message
    assert "compile for a CI system that can say this" in caught.value.hint


def test_argo_has_to_be_told_what_to_check_out() -> None:
    with pytest.raises(ConfigError, match=r"^ci\.repository: Argo Workflows does not know what to check out"):
        compile_argo(plan(stage(), ci=Ci()))


def test_github_has_no_single_unknown_character_in_branches() -> None:
    with pytest.raises(ConfigError, match=r"^ci\.branches: GitHub Actions means something else by the \? of 'v\?'"):
        compile_github(plan(stage(), ci=Ci(branches=("v?",))))
    assert '- "a**b**c"' in compile_github(plan(stage(), ci=Ci(branches=("a*b*c",))))


def test_underscores_become_hyphens_where_two_names_do_not_become_one() -> None:
    text = compile_argo(plan(stage("unit_tests"), stage("all", needs=("unit_tests",))))

    assert "run-stage unit_tests " in text
    assert "(unit-tests.Succeeded || unit-tests.Skipped)" in text
    both = StageGraph({name: stage(name) for name in ("a_b", "a-b")})
    with pytest.raises(ConfigError, match=r"pipeline\.a-b\.name: Argo Workflows knows a-b already: it is of stage a_b"):
        compile_argo(compile_plan(source(both, NO_TIERS)))


def test_jobs_of_one_group_that_wait_for_each_other_anyway_are_taken() -> None:
    compile_github(plan(stage(concurrency="g"), stage("b", concurrency="g", needs=("a",))))


def test_a_long_stage_is_taken_where_the_machine_is_the_users_own() -> None:
    text = compile_github(plan(stage(timeout_s=6 * HOURS), ci=Ci(runner="own")))

    assert "timeout-minutes: 370" in text


def test_a_reusable_workflow_has_a_stage_with_what_it_needs_and_no_conditions() -> None:
    found = plan(
        stage(when=When(branches=("main",), changed=("code",))), stage("b", needs=("a",), env=("KEY",)), stage("c")
    )

    text = compile_github(reusable(found, "b"), "b")

    assert "workflow_call:\n    secrets:\n      KEY:\n        required: false\n" in text
    assert "  c:\n" not in text
    assert "github.event" not in text
    with pytest.raises(ConfigError, match="--reusable: there is no stage 'd'; the pipeline has a, c, b"):
        reusable(found, "d")
