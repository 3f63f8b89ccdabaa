"""What a workflow of GitHub Actions asks for, and that it asks for no more."""

from typing import Any

import yaml
from tests.unit.pipeline.compile.pipelines import CI, source
from tests.unit.pipeline.compile.read_github import Expression

from shipway.pipeline.compile.github import ACTIONS, compile_github
from shipway.pipeline.compile.plan import compile_plan
from shipway.pipeline.graph import build_graph
from shipway.pipeline.spec import StageSpec, When


def stage(name: str, **settings: Any) -> StageSpec:
    return StageSpec(name, run=("true",), **settings)


def workflow(*stages: StageSpec, folder: str = "") -> Any:
    return yaml.safe_load(compile_github(compile_plan(source(build_graph(stages), CI, folder))))


def test_a_token_may_read_and_only_a_stage_with_cloud_identity_gets_one_for_the_cloud() -> None:
    found = workflow(stage("a"), stage("b", env=("SHIPWAY_ID_TOKEN",)))

    assert found["permissions"] == {}
    assert found["jobs"]["a"]["permissions"] == {"contents": "read"}
    assert found["jobs"]["b"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert [step["name"] for step in found["jobs"]["b"]["steps"] if "name" in step] == [
        "Install",
        "Identity",
        "Run",
        "Keep",
    ]
    checkouts = [job["steps"][0]["with"] for job in found["jobs"].values()]
    assert checkouts == [{"persist-credentials": False}] * 2


def test_a_stage_sees_only_the_secrets_that_its_env_names() -> None:
    found = workflow(stage("a", env=("KEY", "GITHUB_TOKEN", "GITHUB_SHA", "CI")), stage("b"))

    run = next(step for step in found["jobs"]["a"]["steps"] if step.get("name") == "Run")
    assert run["env"] == {"KEY": "${{ secrets.KEY || vars.KEY }}", "GITHUB_TOKEN": "${{ github.token }}"}
    assert "secrets" not in str(found["jobs"]["b"])


def test_a_job_runs_after_left_out_ones_and_not_after_failed_ones() -> None:
    found = workflow(stage("a", when=When(events=("push",))), stage("b", needs=("a",)))
    condition = found["jobs"]["b"]["if"].removeprefix("${{ ").removesuffix(" }}")

    assert Expression(condition, {}).value() is True
    assert Expression(condition, {"failure()": True}).value() is False
    assert Expression(condition, {"cancelled()": True}).value() is False


def test_what_changed_is_asked_once_and_only_where_there_is_something_before() -> None:
    found = workflow(stage("a", when=When(changed=("code",))), stage("b", when=When(changed=("data",))))
    job = found["jobs"]["shipway-changes"]
    condition = job["if"].removeprefix("${{ ").removesuffix(" }}")

    assert job["steps"][0]["with"]["fetch-depth"] == 0
    assert job["steps"][-1]["run"].startswith('echo "parts=$(shipway pipeline changed --since "$BASE")"')
    assert not Expression(condition, {"github.event_name": "schedule", "github.ref_type": "branch"}).value()
    assert found["jobs"]["a"]["needs"] == ["shipway-changes"]
    assert "shipway-changes" not in workflow(stage("a"))["jobs"]


def test_files_come_back_to_where_they_were_made() -> None:
    found = workflow(
        stage("plain"), stage("maker", outputs=("dist/a/**",)), stage("last", needs=("plain", "maker")), folder="app/"
    )
    fetched = {
        step["with"]["pattern"]: step["with"]["path"]
        for step in found["jobs"]["last"]["steps"]
        if "download-artifact" in step.get("uses", "")
    }
    kept = found["jobs"]["maker"]["steps"][-1]["with"]

    # An artifact's paths are relative to the deepest folder that all of them are in.
    assert fetched == {"shipway.plain.*": "app/.shipway/pipeline/results", "shipway.maker.*": "app"}
    assert kept["path"].splitlines() == ["app/.shipway/pipeline/results/maker.json", "app/dist/a/**"]
    assert (kept["retention-days"], kept["include-hidden-files"]) == (14, True)
    assert "--project app" in str(found["jobs"]["last"])


def test_files_that_lie_beside_the_result_alone_come_back_there() -> None:
    left = ".shipway/pipeline/{}/judge.jsonl"
    found = workflow(
        stage("beside", outputs=(left.format("results"),)),
        stage("near", outputs=(left.format("near"),)),
        stage("last", needs=("beside", "near")),
        folder="app/",
    )
    fetched = {
        step["with"]["pattern"]: step["with"]["path"]
        for step in found["jobs"]["last"]["steps"]
        if "download-artifact" in step.get("uses", "")
    }

    assert fetched == {"shipway.beside.*": "app/.shipway/pipeline/results", "shipway.near.*": "app/.shipway/pipeline"}


def test_every_action_is_named_by_its_commit_and_its_release() -> None:
    text = compile_github(compile_plan(source(build_graph([stage("a", inputs=("x",)), stage("b", needs=("a",))]), CI)))

    for action, (commit, release) in ACTIONS.items():
        assert f"uses: {action}@{commit} # {release}\n" in text
    assert text.count("uses:") == text.count("@") == text.count(" # v")


def test_a_branch_of_a_fork_is_not_ours_whatever_its_name() -> None:
    found = workflow(stage("a", when=When(branches=("main",))), stage("b", when=When(events=("pull_request",))))
    fork = {
        "github.event_name": "pull_request",
        "github.ref_type": "branch",
        "github.head_ref": "main",
        "github.repository": "org/app",
        "github.event.pull_request.head.repo.full_name": "other/app",
    }
    started = {
        name: Expression(job["if"].removeprefix("${{ ").removesuffix(" }}"), known).value()
        for name, job in found["jobs"].items()
        for known in [fork]
    }

    assert started == {"a": False, "b": True}
