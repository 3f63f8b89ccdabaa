"""Which stages a run has: what is asked for, and what the circumstances leave out."""

import pytest

from shipway.core.errors import UsageError
from shipway.pipeline.graph import StageGraph, build_graph
from shipway.pipeline.selection import Asked, Circumstance, select, why_not
from shipway.pipeline.spec import StageSpec, When


def stage(name: str, *needs: str, **when: tuple[str, ...]) -> StageSpec:
    return StageSpec(name, run=("x",), needs=needs, when=When(**when))


@pytest.fixture
def graph() -> StageGraph:
    return build_graph(
        [stage("lint"), stage("build", "lint"), stage("test", "build"), stage("ship", "test"), stage("docs")]
    )


def test_without_a_question_every_stage_runs(graph: StageGraph) -> None:
    found = select(graph, Asked(), Circumstance())
    assert found.chosen == tuple(graph.stages)
    assert (found.left_out, found.earlier) == ({}, ())


def test_one_stage_alone_takes_the_earlier_results_of_all_that_it_builds_on(graph: StageGraph) -> None:
    found = select(graph, Asked(only="test"), Circumstance())
    assert (found.chosen, found.earlier) == (("test",), ("lint", "build"))
    assert found.left_out == {"ship": "not asked for", "docs": "not asked for"}


def test_from_a_stage_on_all_that_need_it_run_and_what_they_build_on_is_earlier(graph: StageGraph) -> None:
    found = select(graph, Asked(start="build"), Circumstance())
    assert (found.chosen, found.earlier) == (("build", "test", "ship"), ("lint",))


def test_until_a_stage_all_that_it_needs_run_and_nothing_is_earlier(graph: StageGraph) -> None:
    found = select(graph, Asked(until="build"), Circumstance())
    assert (found.chosen, found.earlier) == (("lint", "build"), ())


@pytest.mark.parametrize("asked", [Asked(only="a", start="b"), Asked(only="lint", until="test")])
def test_two_parts_at_once_are_refused(graph: StageGraph, asked: Asked) -> None:
    with pytest.raises(UsageError, match="contradict each other"):
        select(graph, asked, Circumstance())


def test_an_unknown_stage_is_refused_with_the_option_that_named_it(graph: StageGraph) -> None:
    with pytest.raises(UsageError, match=r"--from: there is no stage 'tst'"):
        select(graph, Asked(start="tst"), Circumstance())


@pytest.mark.parametrize(
    ("when", "around", "said"),
    [
        ({"events": ("push",)}, Circumstance(), "runs on push, and this is manual"),
        ({"events": ("push",)}, Circumstance(event="push"), ""),
        ({"branches": ("main", "release/*")}, Circumstance(branch="release/1"), ""),
        ({"branches": ("main",)}, Circumstance(branch="maintenance"), "runs on branch main, and this is maintenance"),
        ({"branches": ("main",)}, Circumstance(), "runs on branch main, and this is none that is known"),
        ({"changed": ("prompt",)}, Circumstance(), ""),
        ({"changed": ("prompt", "code")}, Circumstance(changed=("code",)), ""),
        ({"changed": ("code",)}, Circumstance(changed=("prompt",)), "runs when code changed, and prompt did"),
        ({"changed": ("code",)}, Circumstance(changed=()), "runs when code changed, and nothing did"),
        ({"tiers": ("full",)}, Circumstance(), ""),
        ({"tiers": ("full",)}, Circumstance(tier="pr"), "belongs to tier full, and this is pr"),
        ({}, Circumstance(event="push", branch="x", changed=(), tier="pr"), ""),
    ],
)
def test_the_circumstances_leave_a_stage_out_with_the_reason(
    when: dict[str, tuple[str, ...]], around: Circumstance, said: str
) -> None:
    assert why_not(stage("a", **when), around) == said


def test_a_stage_that_is_left_out_is_not_asked_of_an_earlier_run() -> None:
    found = select(
        build_graph([stage("image", events=("push",)), stage("test", "image")]), Asked(only="test"), Circumstance()
    )
    assert (found.chosen, found.earlier) == (("test",), ())
    assert found.left_out["image"] == "not asked for"
