"""The derived pipeline holds what the repository has something for, whatever that is."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shipway.config.pipeline_checks import stage_problems
from shipway.config.sections.ci import Ci
from shipway.config.sections.pipeline import Stage
from shipway.entrypoints.builtin_stages import catalogue
from shipway.pipeline.builtins import with_builtin_defaults
from shipway.pipeline.compile.plan import Source, compile_plan
from shipway.pipeline.compile.targets import targets
from shipway.pipeline.configured import configured_stages
from shipway.pipeline.graph import StageGraph, build_graph
from shipway.pipeline.plan import plan_digest
from shipway.pipeline.selection import Asked, Circumstance, select
from shipway.pipeline.standard.derive import NIGHTLY, Derived, derived
from shipway.pipeline.standard.repository import Repository
from shipway.pipeline.standard.tell import derived_lines, in_words
from shipway.pipeline.standard.write import pipeline_section

KNOWN = catalogue()
PARTS = ("code", "data", "policy")
CHANGES_NEEDED = {"circleci", "jenkins"}
"""Targets that cannot say what a stage with `changed` asks for, and refuse it."""
FULL = Repository(
    app="shop",
    python="shop.py",
    ruff="pyproject.toml",
    mypy="mypy.ini",
    bandit=".bandit",
    tests="tests",
    integration="tests/integration",
    redis=True,
    dataset="evals/cases.jsonl",
    terms="evals/cases.jsonl",
    gates=frozenset({"limit", "regression", "safety"}),
    recall_metric="recall_at_5",
    recall_min=0.8,
    keyword_min=0.6,
    corpus="docs",
    dockerfile="Dockerfile",
    image="registry.example.com/shop",
    registry=True,
    smoke="evals/smoke.yaml",
    load_plan="load.yaml",
    chaos_plan="chaos.yaml",
    staging="configs/staging.yaml",
    contact="env:TEAM_WEBHOOK",
)


@st.composite
def repositories(draw: st.DrawFn) -> Repository:
    """Return a repository that has some of what a full one has."""
    names = [item.name for item in fields(Repository) if item.name not in {"app", "black"}]
    kept: dict[str, Any] = {name: getattr(FULL, name) for name in names if draw(st.booleans())}
    if "gates" in kept:
        kept["gates"] = draw(st.frozensets(st.sampled_from(sorted(FULL.gates))))
    if "image" not in kept:
        kept |= {"image": "shop", "registry": False}
    return Repository("shop", **kept, black="pyproject.toml" if draw(st.booleans()) else "")


def graph_of(pipeline: Derived) -> StageGraph:
    return build_graph(with_builtin_defaults(stage, KNOWN) for stage in configured_stages(pipeline.stages))


def chosen(pipeline: Derived, event: str, branch: str = "main", tier: str = "", **around: object) -> set[str]:
    changed = around.get("changed")
    circumstance = Circumstance(event, branch, changed if isinstance(changed, tuple) else None, tier)
    return set(select(graph_of(pipeline), Asked(), circumstance).chosen)


@given(repositories())
def test_every_derived_pipeline_can_be_run_and_has_nothing_that_the_repository_has_not(found: Repository) -> None:
    pipeline = derived(found)
    assert not list(stage_problems(pipeline.stages))
    assert set(pipeline.because) == set(pipeline.stages)
    assert all(pipeline.because.values())
    for stage in pipeline.stages.values():
        KNOWN[stage.uses or ""].options.model_validate(dict(stage.with_))
    judged = bool(found.dataset and found.gates)
    there = {
        "lint": bool(found.python and found.ruff),
        "format": bool(found.python and (found.ruff or found.black)),
        "typecheck": bool(found.python and found.mypy),
        "security": bool(found.python and found.bandit),
        "unit": bool(found.tests),
        "integration": bool(found.integration),
        "rag-build": bool(found.corpus),
        "release": True,
        "evaluate": judged,
        "gate": judged,
        "cost": judged,
        "regression": judged and "regression" in found.gates,
        "safety": judged and "safety" in found.gates,
        "rag-integration": judged and bool(found.corpus and found.recall_metric and found.terms),
        "build": bool(found.dockerfile),
        "push": bool(found.dockerfile and found.registry),
        "staging": judged and bool(found.staging),
        "canary": judged,
        "monitor": judged,
        "smoke": judged and bool(found.smoke),
        "notify": judged and bool(found.contact),
        "data": bool(found.dataset),
        "load": bool(found.load_plan),
        "chaos": bool(found.chaos_plan),
    }
    assert set(pipeline.stages) == {name for name, wanted in there.items() if wanted}


@given(repositories())
def test_what_is_written_is_read_back_as_the_same_pipeline(found: Repository) -> None:
    pipeline = derived(found)
    read = yaml.safe_load(pipeline_section(pipeline, NIGHTLY))
    assert {name: Stage.model_validate(body) for name, body in read["pipeline"].items()} == dict(pipeline.stages)
    assert read["ci"] == {"schedule": NIGHTLY}
    assert list(read["pipeline"]) == list(pipeline.stages)


@given(repositories())
def test_every_ci_system_that_knows_changes_takes_every_derived_pipeline(found: Repository) -> None:
    graph = graph_of(derived(found))
    ci = Ci(schedule=NIGHTLY, repository="https://git.example.com/shop.git")
    plan = compile_plan(Source(graph, plan_digest(graph, "1"), "1", ci, parts=dict.fromkeys(PARTS, ("a",))))
    for name, target in targets().items():
        if name not in CHANGES_NEEDED:
            assert target.write(plan)


@given(repositories(), st.sampled_from(["pull_request", "manual", "schedule"]), st.sampled_from(["", "pr", "full"]))
def test_only_a_push_or_an_update_of_the_main_branch_deploys(found: Repository, event: str, tier: str) -> None:
    deploying = {"staging", "canary", "monitor", "push", "notify", "smoke"}
    assert not chosen(derived(found), event, tier=tier) & deploying
    assert not chosen(derived(found), "push", "feature/x", tier=tier) & deploying


@given(repositories(), st.sampled_from(["", "smoke", "pr", "full"]), st.sampled_from(["push", "model_update"]))
def test_nothing_is_deployed_in_a_run_that_judges_nothing(found: Repository, tier: str, event: str) -> None:
    stages = chosen(derived(found), event, tier=tier)
    assert "canary" not in stages or {"evaluate", "gate", "release"} <= stages


def test_each_standard_pipeline_has_its_stages() -> None:
    pipeline = derived(FULL)
    checks = {"lint", "format", "typecheck", "security", "unit", "integration"}
    pull_request = checks | {"rag-build", "release", "evaluate", "gate", "rag-integration", "build"}
    deploy = pull_request | {"push", "staging", "smoke", "canary", "monitor", "notify"}
    assert chosen(pipeline, "pull_request", "feature/x", "pr") == pull_request
    assert chosen(pipeline, "push") == deploy
    assert chosen(pipeline, "model_update") == deploy | {"cost", "regression", "safety"}
    assert chosen(pipeline, "schedule", tier="full") == pull_request | {"data", "safety", "load", "chaos"}
    assert chosen(pipeline, "push", "feature/x", "smoke") == checks - {"integration"} | {"rag-build", "release"}


def test_a_change_of_prompts_alone_skips_the_image_and_never_the_evaluation() -> None:
    stages = chosen(derived(FULL), "push", changed=("prompt",))
    assert not stages & {"lint", "format", "typecheck", "security", "build", "push", "rag-integration"}
    assert {"unit", "release", "evaluate", "gate", "staging", "smoke", "canary", "monitor"} <= stages


@pytest.mark.parametrize("part", ["code", "prompt", "model", "data", "policy"])
def test_whatever_changed_is_evaluated_and_judged(part: str) -> None:
    assert {"release", "evaluate", "gate"} <= chosen(derived(FULL), "pull_request", changed=(part,))


def test_the_canary_waits_for_everything_that_checks() -> None:
    graph = graph_of(derived(FULL))
    before = set(graph.ancestors("canary"))
    assert before == set(graph.stages) - {"canary", "monitor", "notify", "data", "load", "chaos"}
    assert graph.stages["chaos"].needs == ("load",)


@given(repositories())
def test_nothing_else_of_the_night_runs_while_load_and_chaos_do(found: Repository) -> None:
    pipeline = derived(found)
    graph, night = graph_of(pipeline), chosen(pipeline, "schedule", tier="full")
    for name in {"load", "chaos"} & night:
        later = {"load": {"chaos"}, "chaos": set()}[name]
        assert night - {name, *graph.ancestors(name)} == later & night


def test_without_staging_what_is_smoke_tested_is_the_canary() -> None:
    found = Repository("a", dataset="d", gates=frozenset({"limit"}), smoke="s.yaml")
    stages = derived(found).stages
    assert stages["smoke"].needs == ("canary",)
    assert stages["monitor"].needs == ("canary", "smoke")
    assert (stages["smoke"].with_["key_env"], stages["smoke"].env) == ("SHIPWAY_TARGET_KEY", ("SHIPWAY_TARGET_KEY",))


@pytest.mark.parametrize(
    ("strategy", "staging", "production"),
    [("canary", "blue-green", None), ("rolling", "blue-green", ""), ("swap", "", "")],
)
def test_staging_waits_for_no_traffic_and_production_keeps_the_strategy_of_the_project(
    strategy: str, staging: str, production: str | None
) -> None:
    stages = derived(replace(FULL, strategy=strategy)).stages
    assert stages["staging"].with_["strategy"] == staging
    assert stages["canary"].with_.get("strategy") == production


def test_black_formats_where_it_is_configured() -> None:
    assert (
        derived(Repository("a", python="a.py", black="pyproject.toml", ruff="ruff.toml")).stages["format"].uses
        == "black"
    )


def test_an_empty_repository_has_a_release_and_is_told_what_is_missing() -> None:
    pipeline = derived(Repository("a"))
    assert list(pipeline.stages) == ["release"]
    lines = derived_lines(pipeline)
    assert lines[0].startswith("derived, as shipway.yaml has no pipeline")
    assert any("evals.dataset" in line for line in lines)
    assert derived_lines(None) == []


def test_circumstances_are_said_in_words() -> None:
    graph = graph_of(derived(FULL))
    assert in_words(graph.stages["unit"].when) == "always"
    assert in_words(graph.stages["push"].when) == ("on push, model_update of main if code changed in tier pr, full")


def test_the_guide_names_every_stage_that_can_be_derived() -> None:
    guide = (Path(__file__).parents[4] / "docs" / "how-to" / "standard-pipelines.md").read_text()
    assert [name for name in derived(FULL).stages if f"`{name}`" not in guide] == []
