"""What a run would do: all that can be known before anything has run, and nothing that cannot."""

from pathlib import Path

import pytest
from tests.unit.pipeline.project_stages import Project

from shipway.pipeline.forecast import Forecast, forecast
from shipway.pipeline.model import StageResult, StageState
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import StageSpec

pytestmark = pytest.mark.anyio

UNLESS = "runs unless release gives what it gave before"


def stage(name: str, *needs: str, **settings: object) -> StageSpec:
    return StageSpec(name, run=("x",), needs=needs, **settings)  # type: ignore[arg-type]


@pytest.fixture
async def passed(tmp_path: Path) -> Project:
    """A project whose release is made of prompts and judged on cases; all its stages have passed once."""
    project = Project(
        tmp_path,
        (
            stage("lint", inputs=("code/**",)),
            stage("release", inputs=("prompts/**",), outputs=("release.txt",)),
            stage("evaluate", "release", inputs=("cases/**",), env=("SEED",)),
            stage("gate", "evaluate", inputs=("limits",)),
        ),
    )

    async def release(_context: StageContext) -> None:
        project.write("release.txt", project.read("prompts/a.txt").lower())

    project.acts["release"] = release
    for name in ("code/a.py", "prompts/a.txt", "cases/a.jsonl", "limits"):
        project.write(name, "a")
    await project.run()
    return project


async def seen(project: Project, settled: dict[str, StageResult] | None = None) -> dict[str, Forecast]:
    found = await forecast(project.graph, settled or {}, project.memory())
    return {item.stage: item for item in found}


def states(found: dict[str, Forecast]) -> dict[str, str]:
    return {name: item.state for name, item in found.items()}


async def test_what_has_not_changed_is_known(passed: Project) -> None:
    assert set(states(await seen(passed)).values()) == {"known"}


async def test_what_waits_says_for_whom_and_what_changed_there(passed: Project) -> None:
    passed.write("prompts/a.txt", "b")
    found = await seen(passed)
    assert states(found) == {"lint": "known", "release": "runs", "evaluate": "open", "gate": "open"}
    assert found["release"].reasons == ("input prompts/a.txt changed",)
    first = "release runs before it: input prompts/a.txt changed"
    assert found["evaluate"].reasons == (f"{UNLESS}: nothing else that decides it has changed", first)
    assert found["evaluate"].waits_for == ("release",)
    assert found["evaluate"].key == ""
    assert (found["evaluate"].parts or {})["needed stage release"] == "known once it has run"
    assert found["gate"].waits_for == ("evaluate",)
    assert found["gate"].reasons[1] == first


async def test_an_open_stage_is_not_run_when_the_one_before_gives_the_same(passed: Project) -> None:
    passed.write("prompts/a.txt", "A")
    assert (await seen(passed))["evaluate"].state == "open"
    await passed.run()
    assert passed.ran == ["release"]


async def test_what_changed_itself_runs_whatever_the_stage_before_gives(passed: Project) -> None:
    passed.write("prompts/a.txt", "b")
    passed.write("cases/a.jsonl", "b")
    passed.variables["SEED"] = "7"
    found = await seen(passed)
    assert states(found) == {"lint": "known", "release": "runs", "evaluate": "runs", "gate": "open"}
    assert found["evaluate"].reasons == ("input cases/a.jsonl changed", "variable SEED changed")
    assert found["evaluate"].waits_for == ("release",)
    assert found["gate"].reasons == (
        "runs unless release and evaluate give what they gave before: nothing else that decides it has changed",
        "release runs before it: input prompts/a.txt changed",
        "evaluate runs before it: input cases/a.jsonl changed, variable SEED changed",
    )
    await passed.run()
    assert passed.ran == ["release", "evaluate", "gate"]


async def test_an_older_result_may_still_fit(passed: Project) -> None:
    passed.write("cases/a.jsonl", "b")
    await passed.run()
    passed.write("cases/a.jsonl", "a")
    passed.write("prompts/a.txt", "A")
    found = await seen(passed)
    assert found["evaluate"].reasons[0] == f"{UNLESS}: all else is as it was for an older result"
    await passed.run()
    assert passed.ran == ["release"]


async def test_what_never_passed_runs(passed: Project) -> None:
    passed.stages = (*passed.stages, stage("new", "release", inputs=("limits",), outputs=("new.txt",)))
    passed.write("prompts/a.txt", "b")
    assert (await seen(passed))["new"].reasons == ("it has not passed before",)


async def test_a_stage_of_the_same_definition_that_needs_nothing_does_not_fit(passed: Project) -> None:
    passed.stages = (*passed.stages, stage("alone", inputs=("limits",)))
    await passed.run()
    passed.stages = (*passed.stages[:-1], stage("alone", "release", inputs=("limits",)))
    passed.write("prompts/a.txt", "b")
    found = (await seen(passed))["alone"]
    assert (found.state, found.reasons) == ("runs", ("no result that is kept fits",))


async def test_past_a_stage_that_is_left_out_it_waits_for_the_one_behind(passed: Project) -> None:
    graph = (stage("build", "release"), stage("ship", "build", inputs=("limits",)))
    passed.stages = (*passed.stages, *graph)
    left_out = {"build": StageResult("build", StageState.SKIPPED, allowed=True, problem="runs when code changed")}
    passed.write("prompts/a.txt", "b")
    found = (await seen(passed, left_out))["ship"]
    assert found.waits_for == ("release",)


async def test_many_changes_of_a_stage_before_are_counted(passed: Project) -> None:
    for number in range(5):
        passed.write(f"prompts/{number}.txt", "b")
    shown = (await seen(passed))["evaluate"].reasons[1]
    assert shown.endswith("input prompts/2.txt is new and 2 more")


async def test_without_the_cache_everything_runs(passed: Project) -> None:
    found = await forecast(passed.graph, {}, passed.memory(read_cache=False))
    assert {(item.state, item.reasons) for item in found} == {("runs", ("the cache is not asked",))}


async def test_what_is_never_kept_says_why(tmp_path: Path) -> None:
    stages = (
        StageSpec("gate", uses="gate", cache=False),
        StageSpec("evaluate", uses="evaluate"),
        stage("loud", inputs=("a",), cache=False),
        stage("open"),
    )
    found = await seen(Project(tmp_path, stages))
    unknown = "it has no inputs, so nobody knows what decides it"
    assert [found[item.name].reasons for item in stages] == [
        ("its result is never kept",),
        (unknown,),
        ("its result is never kept: cache is false",),
        (unknown,),
    ]


async def test_a_product_that_a_person_changed_makes_the_stage_run(passed: Project) -> None:
    passed.write("release.txt", "by hand")
    found = (await seen(passed))["release"]
    assert (found.state, found.reasons) == (
        "runs",
        ("release.txt changed where its outputs are, and not by the stage",),
    )
    await passed.run()
    assert "release" in passed.ran


async def test_a_script_that_is_run_and_no_input_is_told_and_so_is_a_pattern_without_files(tmp_path: Path) -> None:
    run = ("python", "tools/check.py", "tools/known.py", "/bin/x.sh", "--out=x")
    project = Project(tmp_path, (StageSpec("a", run=run, inputs=("tools/known.py", "scr")),))
    for name in ("tools/check.py", "tools/known.py"):
        project.write(name, "x")
    assert (await seen(project))["a"].notes == (
        "inputs: 'scr' matches no file",
        "tools/check.py is run, and no input: a change of it does not run the stage again",
    )
