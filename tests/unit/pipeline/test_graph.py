"""Stages are ordered and checked before anything runs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipway.config.sections.pipeline import Stage
from shipway.core.errors import UsageError
from shipway.pipeline.configured import configured_stages
from shipway.pipeline.graph import build_graph
from shipway.pipeline.spec import StageSpec


def stage(name: str, *needs: str) -> StageSpec:
    return StageSpec(name, run=("true",), needs=needs)


def test_a_stage_comes_after_all_it_needs_and_equals_keep_their_order() -> None:
    graph = build_graph([stage("deploy", "eval", "lint"), stage("lint"), stage("eval", "build"), stage("build")])
    assert list(graph.stages) == ["lint", "build", "eval", "deploy"]


def test_ancestors_are_direct_and_indirect_needs_and_nothing_else() -> None:
    graph = build_graph([stage("a"), stage("b", "a"), stage("c", "b"), stage("other")])
    assert graph.ancestors("c") == ("a", "b")
    assert graph.ancestors("other") == ()


def test_a_circle_is_refused_with_its_path_in_the_direction_of_the_needs() -> None:
    with pytest.raises(UsageError, match=r"in a circle: a needs b needs c needs a\n") as refused:
        build_graph([stage("start"), stage("a", "b", "start"), stage("b", "c"), stage("c", "a")])
    assert "start" not in refused.value.message


def test_a_stage_that_needs_itself_is_a_circle() -> None:
    with pytest.raises(UsageError, match="in a circle: a needs a"):
        build_graph([stage("a", "a")])


def test_an_unknown_need_is_refused_with_the_stages_there_are() -> None:
    with pytest.raises(UsageError, match=r"pipeline\.b\.needs: there is no stage 'lnt'") as refused:
        build_graph([stage("lint"), stage("b", "lnt")])
    assert refused.value.hint == "the pipeline has lint, b"


def test_no_stages_are_refused() -> None:
    with pytest.raises(UsageError, match="has no stages"):
        build_graph([])


@pytest.mark.parametrize("other", ["unit-tests", "unit_tests"])
def test_two_stages_whose_results_would_share_variables_are_refused(other: str) -> None:
    with pytest.raises(UsageError, match=r"SHIPWAY_STAGE_UNIT_TESTS_\*"):
        build_graph([stage("unit_tests"), stage(other)])


@pytest.mark.parametrize(
    "wrong", [StageSpec("a"), StageSpec("a", run=()), StageSpec("a", run=("true",), uses="release")]
)
def test_a_stage_without_exactly_one_of_run_and_uses_is_refused(wrong: StageSpec) -> None:
    with pytest.raises(UsageError, match=r"pipeline\.a: give exactly one of run, uses"):
        build_graph([wrong])


def test_the_project_files_section_becomes_stages_with_every_setting() -> None:
    section = {
        "lint": Stage(run=("ruff", "check"), timeout_s=5, retries=2, allow_failure=True, env=("CI",)),
        "gate": Stage(uses="evaluate", needs=("lint",)),
    }
    lint, gate = configured_stages(section)
    assert lint == StageSpec("lint", ("ruff", "check"), timeout_s=5, retries=2, allow_failure=True, env=("CI",))
    assert gate == StageSpec("gate", None, "evaluate", ("lint",))


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=10))
def test_any_graph_is_either_ordered_or_refused_for_a_real_circle(needs: list[set[int]]) -> None:
    names = [f"s{index}" for index in range(len(needs))]
    stages = [
        stage(name, *(f"s{n}" for n in sorted(need) if n < len(needs))) for name, need in zip(names, needs, strict=True)
    ]
    by_name = {item.name: item for item in stages}
    try:
        order = list(build_graph(stages).stages)
    except UsageError as refused:
        path = refused.message.partition("circle: ")[2].split(" needs ")
        assert path[0] == path[-1]
        assert all(after in by_name[before].needs for before, after in itertools.pairwise(path))
        return
    assert sorted(order) == sorted(names)
    assert all(order.index(need) < order.index(item.name) for item in stages for need in item.needs)
