"""Every compiled file says what the pipeline says: read back, it has the same jobs, order, conditions and gates."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pipeline.compile import pipelines
from tests.unit.pipeline.compile.read_argo import read_argo
from tests.unit.pipeline.compile.read_circleci import read_circleci
from tests.unit.pipeline.compile.read_github import read_github
from tests.unit.pipeline.compile.read_gitlab import read_gitlab
from tests.unit.pipeline.compile.read_jenkins import levels, read_jenkins
from tests.unit.pipeline.compile.reading import ReadFile, ReadJob, planned, started

from shipway.config.sections.ci import Ci
from shipway.pipeline.compile.argo import compile_argo
from shipway.pipeline.compile.circleci import compile_circleci
from shipway.pipeline.compile.commands import gpu_labels
from shipway.pipeline.compile.github import compile_github
from shipway.pipeline.compile.gitlab import compile_gitlab
from shipway.pipeline.compile.jenkins import compile_jenkins
from shipway.pipeline.compile.plan import CompilePlan, compile_plan
from shipway.pipeline.graph import StageGraph
from shipway.pipeline.patterns import fixed_part
from shipway.pipeline.selection import Circumstance
from shipway.pipeline.spec import StageSpec


@dataclass(frozen=True)
class Target:
    """One target: how it is written and read, and what is taken out of a pipeline because it refuses it."""

    write: Callable[[CompilePlan], str]
    read: Callable[[str], ReadFile]
    ci: Ci = pipelines.CI
    refused: tuple[str, ...] = ()


TARGETS = {
    "github": Target(compile_github, read_github),
    "gitlab": Target(compile_gitlab, read_gitlab),
    "argo": Target(compile_argo, read_argo),
    "circleci": Target(
        compile_circleci, read_circleci, pipelines.plain_ci(), ("pushes", "changed", "branches", "parts", "gpus")
    ),
    "jenkins": Target(compile_jenkins, read_jenkins, pipelines.CI, ("changed", "identity")),
}
STARTED_BY_OTHERS = ("argo", "circleci")
"""Argo runs what is submitted, and CircleCI starts on every push: a pull request is one."""
target = pytest.mark.parametrize("name", TARGETS)


def expected(graph: StageGraph, plan: CompilePlan, stage: StageSpec, name: str) -> dict[str, object]:
    """What a job says of a stage, where every target says it alike."""
    ancestors = frozenset(graph.ancestors(stage.name))
    argv = ["shipway", "pipeline", "run-stage", stage.name, "--plan-digest", plan.digest]
    limit_s = math.ceil(stage.timeout_s * (stage.retries + 1)) + 600
    made = dict.fromkeys(filter(None, (*stage.outputs, stage.metrics, stage.report)))
    return {
        "needs": frozenset(stage.needs),
        "argv": (*argv, "--shard", f"SHARD/{stage.shards}") if stage.shards > 1 else tuple(argv),
        "limit_min": math.ceil(limit_s / 60),
        "allow_failure": stage.allow_failure,
        "environment": stage.environment,
        "approval": stage.environment == "production",
        "concurrency": stage.concurrency,
        "shards": stage.shards,
        "image": stage.image or plan.ci.image,
        "labels": gpu_labels(plan, plan.job(stage.name)),
        "identity": "SHIPWAY_ID_TOKEN" in stage.env,
        "variables": frozenset(stage.env) - {"SHIPWAY_ID_TOKEN"},
        "keeps": (f".shipway/pipeline/results/{stage.name}.json", *made),
        "fetches": ancestors,
    } | OWN[name](graph, stage, limit_s, made)


def _github(_graph: StageGraph, stage: StageSpec, _limit_s: int, _made: Iterable[str]) -> dict[str, object]:
    # Who approves an environment is a setting of the repository.
    return {"image": stage.image, "approval": False}


def _gitlab(graph: StageGraph, stage: StageSpec, _limit_s: int, _made: Iterable[str]) -> dict[str, object]:
    # Files come from needed jobs alone, so that every stage that it builds on is needed; variables come by themselves.
    return {"needs": frozenset(graph.ancestors(stage.name)), "variables": frozenset()}


def _argo(_graph: StageGraph, stage: StageSpec, limit_s: int, made: Iterable[str]) -> dict[str, object]:
    gpus, kind = stage.resources.gpus, stage.resources.gpu_type
    product = ("two-h100" if gpus == 2 else kind) if gpus and kind else ""
    kept = dict.fromkeys(fixed_part(path) for path in (f".shipway/pipeline/results/{stage.name}.json", *made))
    return {"limit_min": limit_s, "labels": (str(gpus), product), "keeps": tuple(kept)}


def _circleci(_graph: StageGraph, stage: StageSpec, _limit_s: int, made: Iterable[str]) -> dict[str, object]:
    kept = dict.fromkeys(fixed_part(path) for path in (f".shipway/pipeline/results/{stage.name}.json", *made))
    # The order is compared for each circumstance; workspaces hold the files of all jobs that a job waits for.
    own = {"needs": None, "variables": frozenset(), "keeps": tuple(kept)}
    own["fetches"] = frozenset({"*"} if stage.needs else ())
    return own | ({"image": ""} if stage.resources.gpus else {})


def _jenkins(graph: StageGraph, stage: StageSpec, _limit_s: int, _made: Iterable[str]) -> dict[str, object]:
    own = {"needs": frozenset(graph.ancestors(stage.name)), "image": stage.image}
    own["environment"] = stage.environment if stage.environment == "production" else ""
    return own | ({} if stage.resources.gpus else {"labels": ("ubuntu-24.04",)})


OWN: dict[str, Callable[[StageGraph, StageSpec, int, Iterable[str]], dict[str, object]]] = {
    "github": _github,
    "gitlab": _gitlab,
    "argo": _argo,
    "circleci": _circleci,
    "jenkins": _jenkins,
}
"""What one target says in its own way."""


def said(job: ReadJob) -> dict[str, object]:
    return {key: getattr(job, key) for key in job.__dataclass_fields__ if key != "runs"}


@target
@settings(max_examples=60, deadline=None)
@given(graph=pipelines.graphs(), found=st.lists(pipelines.circumstances(), min_size=1, max_size=8))
def test_a_compiled_file_read_back_is_the_local_plan(name: str, graph: StageGraph, found: list[Circumstance]) -> None:
    it = TARGETS[name]
    graph = pipelines.without(graph, *it.refused) if it.refused else graph
    plan = compile_plan(pipelines.source(graph, it.ci))

    text = it.write(plan)
    file = it.read(text)

    assert set(file.jobs) == set(graph.stages)
    for stage in graph.stages.values():
        own = expected(graph, plan, stage, name)
        assert said(file.jobs[stage.name]) | ({"needs": None} if own["needs"] is None else {}) == own
    assert file.schedule in (it.ci.schedule, None)
    for circumstance in found:
        if circumstance.event in plan.events:
            check_circumstance(graph, it.ci, file, circumstance, started_here=name not in STARTED_BY_OTHERS)
            if file.order is not None:
                running = planned(graph, it.ci, circumstance)
                waits = {stage: running & set(graph.ancestors(stage)) for stage in running}
                assert file.order(circumstance) == waits
    # The same definition gives the same bytes, and no word of a command gets into them.
    assert it.write(compile_plan(pipelines.source(graph, it.ci))) == text
    assert not any(word in text for word in ("secrets.X", "touch x", "workflow.name", "<< p >>"))


def check_circumstance(
    graph: StageGraph, ci: Ci, file: ReadFile, circumstance: Circumstance, *, started_here: bool
) -> None:
    if started_here:
        assert file.starts(circumstance) == started(graph, ci, circumstance)
    if file.starts(circumstance):
        running = {stage for stage, job in file.jobs.items() if job.runs(circumstance)}
        assert running == planned(graph, ci, circumstance), circumstance


@given(graph=pipelines.graphs())
@settings(max_examples=30, deadline=None)
def test_levels_of_jenkins_keep_every_need(graph: StageGraph) -> None:
    found = levels(compile_jenkins(compile_plan(pipelines.source(pipelines.without(graph, "changed", "identity")))))

    assert sum(map(len, found)) == len(graph.stages)
    for number, level in enumerate(found):
        earlier = set().union(*found[:number])
        assert all(set(graph.stages[name].needs) <= earlier for name in level)
