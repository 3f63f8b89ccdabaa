"""What manifests of Argo Workflows ask for, and that scripts in them hand on what they should."""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from tests.unit.pipeline.compile.pipelines import CI, source

from shipway.config.sections.ci import Ci
from shipway.pipeline.compile.argo import compile_argo
from shipway.pipeline.compile.plan import compile_plan
from shipway.pipeline.graph import build_graph
from shipway.pipeline.spec import Resources, StageSpec, When


def stage(name: str, **settings: Any) -> StageSpec:
    return StageSpec(name, run=("true",), **settings)


def manifests(*stages: StageSpec, ci: Ci = CI) -> list[Any]:
    return list(yaml.safe_load_all(compile_argo(compile_plan(source(build_graph(stages), ci)))))


def containers(*stages: StageSpec) -> dict[str, Any]:
    return {item["name"]: item for item in manifests(*stages)[0]["spec"]["templates"] if "container" in item}


def test_a_schedule_is_a_second_manifest_that_says_what_started_it() -> None:
    template, cron = manifests(stage("a"))

    assert (template["kind"], cron["kind"]) == ("WorkflowTemplate", "CronWorkflow")
    assert cron["spec"]["workflowSpec"]["workflowTemplateRef"] == {"name": template["metadata"]["name"]}
    assert cron["spec"]["workflowSpec"]["arguments"]["parameters"] == [{"name": "event", "value": "schedule"}]
    assert len(manifests(stage("a"), ci=Ci(repository="https://git.example.com/a"))) == 1


def test_a_branch_is_a_value_in_a_condition_and_never_a_part_of_it() -> None:
    [a, _b] = manifests(stage("a", when=When(branches=("a.b",))), stage("b"))[0]["spec"]["templates"][0]["dag"]["tasks"]

    assert a["when"].startswith("{{= workflow.parameters.event != 'tag' && workflow.parameters.branch != ''")
    assert a["when"].endswith(r"&& workflow.parameters.branch matches '^(a\\.b)$' }}")


def test_pods_have_no_rights_and_identity_is_projected_for_those_who_ask() -> None:
    spec = manifests(stage("a"))[0]["spec"]
    found = containers(stage("a", env=("SHIPWAY_ID_TOKEN", "KEY")), stage("b", resources=Resources(2, 512, 1)))

    assert spec["automountServiceAccountToken"] is False
    token = found["a"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]
    assert (token["audience"], token["path"]) == ("https://cloud.example.com", "token")
    assert found["a"]["container"]["env"] == [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "shipway-ci", "key": "KEY", "optional": True}}}
    ]
    assert "volumes" not in found["b"]
    wanted = {"requests": {"cpu": "2", "memory": "512M"}, "limits": {"nvidia.com/gpu": "1"}}
    assert found["b"]["container"]["resources"] == wanted


def run_script(script: str, folder: Path, exit_code: int) -> "subprocess.CompletedProcess[str]":
    """Run a job's script with the folders of a pod below `folder`, and programs that only say that they were called."""
    for name in ("bin", "source", "handed/lint"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "bin/python").write_text("#!/bin/sh\n")
    stages = (
        'mkdir -p dist/x .shipway/pipeline/results; echo "$@" > dist/x/said; echo {} > .shipway/pipeline/results/a.json'
    )
    (folder / "bin/shipway").write_text(f"#!/bin/sh\n{stages}; exit {exit_code}\n")
    for program in (folder / "bin").iterdir():
        program.chmod(0o755)
    (folder / "handed/lint/from-lint").write_text("1")
    script = script.replace("/shipway/", f"{folder}/")
    environment = {"PATH": f"{folder}/bin:/usr/bin:/bin", "SHIPWAY_JOB_SHARD": "2"}
    return subprocess.run(
        ["sh", "-euc", script], cwd=folder / "source", env=environment, check=False, capture_output=True, text=True
    )


def test_a_job_takes_what_was_handed_on_runs_its_stage_and_hands_on(tmp_path: Path) -> None:
    script = containers(stage("lint"), stage("a", needs=("lint",), outputs=("dist/**", "gone"), shards=3))["a"]
    done = run_script(script["container"]["args"][0], tmp_path, 0)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "source/from-lint").exists()
    assert (tmp_path / "kept/.shipway/pipeline/results/a.json").exists()
    assert (tmp_path / "kept/dist/x/said").read_text().split()[-2:] == ["--shard", "2/3"]


def test_only_a_stage_that_may_fail_may_fail_and_not_by_another_plan(tmp_path: Path) -> None:
    found = containers(stage("lint"), stage("a", needs=("lint",)), stage("b", needs=("lint",), allow_failure=True))
    codes = {
        (name, code): run_script(found[name]["container"]["args"][0], tmp_path / name / str(code), code).returncode
        for name in ("a", "b")
        for code in (0, 1, 2, 3)
    }

    assert [codes["a", code] for code in (0, 1, 2, 3)] == [0, 1, 2, 3]
    assert [codes["b", code] for code in (0, 1, 2, 3)] == [0, 0, 2, 0]
    assert (tmp_path / "a/1/kept/.shipway/pipeline/results/a.json").exists()
