"""What need not run does not; what comes from the cache is what would have been made; promises are held."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from tests.unit.pipeline.project_stages import Act, Project, result_of

from shipway.adapters.pipeline_store.writing import STAGED_PREFIX
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome, StageResult, StageState
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import Limit, StageSpec

pytestmark = pytest.mark.anyio


def stage(name: str, *needs: str, **settings: object) -> StageSpec:
    return StageSpec(name, run=("x",), needs=needs, **settings)  # type: ignore[arg-type]


def writing(project: Project, name: str, text: Callable[[], str]) -> Act:
    async def act(_context: StageContext) -> None:
        project.write(name, text())

    return act


@pytest.fixture
def built(tmp_path: Path) -> Project:
    """A project whose `build` copies `src` to `dist`, and whose `test` reads that."""
    project = Project(
        tmp_path,
        (
            stage("build", inputs=("src/**",), outputs=("dist/out.txt",)),
            stage("test", "build", inputs=("tests/**",)),
        ),
    )
    project.acts["build"] = writing(project, "dist/out.txt", lambda: project.read("src/a.txt").lower())
    project.write("src/a.txt", "Hello")
    project.write("tests/t.txt", "t")
    return project


async def test_the_second_run_runs_nothing_and_says_why(built: Project) -> None:
    await built.run()
    report = await built.run()
    assert built.ran == []
    assert (report.verdict, {result.known for result in report.results}) == (Verdict.PASS, {"cache"})


async def test_what_changed_runs_and_what_got_the_same_from_it_does_not(built: Project) -> None:
    await built.run()
    built.write("src/a.txt", "hELLO")
    await built.run()
    assert built.ran == ["build"]
    built.write("src/a.txt", "other")
    await built.run()
    assert built.ran == ["build", "test"]


async def test_two_stages_that_say_the_same_share_a_result_and_keep_their_names(tmp_path: Path) -> None:
    same = {"inputs": ("src/**",)}
    project = Project(tmp_path, (stage("one", **same), stage("two", "one", **same), stage("twin", **same)))
    project.write("src/a.txt", "a")
    await project.run()
    report = await project.run()
    assert [(result.name, result.known) for result in report.results] == [
        ("one", "cache"),
        ("twin", "cache"),
        ("two", "cache"),
    ]
    assert project.ran == []


async def test_a_state_of_before_is_known_again_and_its_files_are_put_back(built: Project) -> None:
    await built.run()
    built.write("src/a.txt", "other")
    await built.run()
    built.write("src/a.txt", "Hello")
    await built.run()
    assert (built.ran, built.read("dist/out.txt")) == ([], "hello")


async def test_an_output_that_is_gone_is_put_back(built: Project) -> None:
    await built.run()
    (built.root / "dist/out.txt").unlink()
    await built.run()
    assert (built.ran, built.read("dist/out.txt")) == ([], "hello")


async def test_what_is_put_back_is_never_seen_half_done(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    await built.run()
    (built.root / "dist/out.txt").unlink()
    seen: list[list[str]] = []
    replace_file = Path.replace

    def looked_at(path: Path, target: Path) -> Path:
        if path.name.startswith(STAGED_PREFIX):
            seen.append(sorted(entry.name for entry in (built.root / "dist").iterdir()))
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", looked_at)
    await built.run()
    assert (seen, built.read("dist/out.txt"), built.ran) == ([[]], "hello", [])


async def test_a_file_left_half_written_is_nobodys_input_or_output(built: Project) -> None:
    await built.run()
    built.write(f"src/{STAGED_PREFIX}left", "x")
    built.write(f"dist/{STAGED_PREFIX}left", "x")
    await built.run()
    assert built.ran == []

    async def leaves_one(_context: StageContext) -> None:
        built.write("dist/out.txt", "new")
        built.write(f"{STAGED_PREFIX}beside", "x")  # as a stage beside does whose files are just being put back

    built.acts["build"] = leaves_one
    built.write("src/a.txt", "new")
    assert (await built.run()).verdict is Verdict.PASS


async def test_content_of_the_cache_that_was_changed_is_never_handed_out(built: Project) -> None:
    await built.run()
    for blob in (built.root / built.cache / "blobs").glob("*/*"):
        blob.write_text("tampered")
    (built.root / "dist/out.txt").unlink()
    await built.run()
    assert (built.ran, built.read("dist/out.txt")) == (["build"], "hello")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 99}'])
async def test_an_entry_that_is_no_entry_is_none(built: Project, text: str) -> None:
    await built.run()
    for entry in (built.root / built.cache / "entries").glob("*"):
        entry.write_text(text)
    report = await built.run()
    assert (built.ran, report.verdict) == (["build", "test"], Verdict.PASS)


async def test_an_entry_under_another_key_answers_nothing(built: Project) -> None:
    await built.run()
    one, other = sorted((built.root / built.cache / "entries").glob("*"))
    swapped = one.read_bytes(), other.read_bytes()
    one.write_bytes(swapped[1])
    other.write_bytes(swapped[0])
    await built.run()
    assert built.ran == ["build", "test"]


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE])
async def test_what_did_not_pass_is_not_kept(tmp_path: Path, verdict: Verdict) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",)),))
    project.write("src/a", "x")

    async def act(_context: StageContext) -> StageOutcome:
        return StageOutcome(verdict)

    project.acts["a"] = act
    for _ in range(2):
        report = await project.run()
        assert (project.ran, report.verdict) == (["a"], verdict)


@pytest.mark.parametrize("settings", [{}, {"inputs": ("src",), "cache": False}])
async def test_without_inputs_or_by_wish_a_stage_runs_each_time(tmp_path: Path, settings: dict[str, object]) -> None:
    project = Project(tmp_path, (stage("a", **settings),))
    project.write("src/a", "x")
    for _ in range(2):
        await project.run()
        assert project.ran == ["a"]


async def test_on_request_the_cache_is_not_read(built: Project) -> None:
    await built.run()
    await built.run(read_cache=False)
    assert built.ran == ["build", "test"]


async def test_a_file_that_is_not_among_the_outputs_is_an_error_that_names_it(built: Project) -> None:
    async def act(_context: StageContext) -> None:
        built.write("dist/out.txt", "x")
        built.write("README.md", "changed by the build")

    built.acts["build"] = act
    build = result_of(await built.run(), "build")
    assert (build.state, build.verdict) == (StageState.FAILED, Verdict.ERROR)
    assert build.problem == "passed, but README.md changed while it ran and is not among its outputs"


async def test_changing_an_own_input_is_an_error_and_nothing_is_kept(built: Project) -> None:
    async def act(_context: StageContext) -> None:
        built.write("dist/out.txt", "x")
        built.write("src/a.txt", built.read("src/a.txt") + "!")

    built.acts["build"] = act
    for _ in range(2):
        assert "src/a.txt changed while it ran" in result_of(await built.run(), "build").problem


async def test_writing_an_input_as_it_was_is_no_change(built: Project) -> None:
    async def act(_context: StageContext) -> None:
        built.write("dist/out.txt", "x")
        (built.root / "src/a.txt").write_text("Hello")

    built.acts["build"] = act
    assert (await built.run()).verdict is Verdict.PASS


async def test_outputs_of_a_stage_beside_are_not_held_against_a_stage(tmp_path: Path) -> None:
    project = Project(
        tmp_path, (stage("a", inputs=("a.txt",), outputs=("out-a",)), stage("b", inputs=("b.txt",), outputs=("out-b",)))
    )
    project.write("a.txt", "a")
    project.write("b.txt", "b")
    begun = {"a": anyio.Event(), "b": anyio.Event()}

    def act(mine: str, other: str) -> Act:
        async def run(_context: StageContext) -> None:
            begun[mine].set()
            await begun[other].wait()
            project.write(f"out-{mine}", mine)

        return run

    project.acts |= {"a": act("a", "b"), "b": act("b", "a")}
    assert (await project.run()).verdict is Verdict.PASS


async def test_an_output_that_never_appears_is_an_error_that_names_its_pattern(built: Project) -> None:
    built.acts["build"] = _nothing
    build = result_of(await built.run(), "build")
    assert build.verdict is Verdict.ERROR
    assert build.problem == "passed, but did not make dist/out.txt, which its outputs promise"


async def _nothing(_context: StageContext) -> None:
    """Make nothing."""


async def test_an_output_of_an_earlier_run_is_not_taken_for_one_of_this_run(built: Project) -> None:
    await built.run()
    built.acts["build"] = _nothing
    built.write("src/a.txt", "other")
    assert "did not make dist/out.txt" in result_of(await built.run(), "build").problem


async def test_a_file_that_no_longer_is_an_output_does_not_stay(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("n.txt",), outputs=("dist/*",)),))

    async def act(_context: StageContext) -> None:
        project.write(f"dist/{project.read('n.txt')}", "x")

    project.acts["a"] = act
    for number in ("1", "2", "1"):
        project.write("n.txt", number)
        await project.run()
        assert [path.name for path in (tmp_path / "dist").iterdir()] == [number]


async def test_what_a_person_put_beside_the_outputs_stays(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("n.txt",), outputs=("dist/*",)),))
    project.acts["a"] = writing(project, "dist/made", lambda: project.read("n.txt"))
    project.write("dist/mine", "by hand")
    for number in ("1", "2"):
        project.write("n.txt", number)
        await project.run()
    assert project.read("dist/mine") == "by hand"


async def test_an_allowed_failure_stays_allowed_when_its_promise_breaks(built: Project) -> None:
    built.stages = (replace(built.stages[0], allow_failure=True), built.stages[1])
    built.acts["build"] = _nothing
    report = await built.run()
    assert (result_of(report, "build").allowed, report.verdict) == (True, Verdict.PASS)


async def test_a_tool_that_is_not_there_is_the_stages_error(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", tools=("ruff",)), stage("b")))
    report = await project.run()
    assert (result_of(report, "a").problem, project.ran) == ("ruff is not there", ["b"])


async def test_a_run_goes_on_with_what_it_had_and_runs_the_rest(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a"), stage("b", "a"), stage("c", "b")))
    first = await project.run()
    had = {name: result_of(first, name) for name in ("a", "b")}
    report = await project.run(had)
    assert (project.ran, report.verdict) == (["c"], Verdict.PASS)


async def test_a_run_does_not_go_on_with_what_was_made_from_other_inputs(built: Project) -> None:
    first = await built.run()
    had: dict[str, StageResult] = {result.name: result for result in first.results}
    built.write("src/a.txt", "other")
    await built.run(had, read_cache=False)
    assert built.ran == ["build", "test"]


async def test_a_failure_of_before_is_run_again_when_a_run_goes_on(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a"),))
    first = await project.run()
    failed = replace(result_of(first, "a"), state=StageState.FAILED, verdict=Verdict.FAIL)
    await project.run({"a": failed})
    assert project.ran == ["a"]


async def test_a_gate_is_judged_before_anything_is_kept(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",), gate=(Limit("f1", min=0.8),)),))
    project.write("src/a", "x")

    async def act(_context: StageContext) -> StageOutcome:
        return StageOutcome(Verdict.PASS, outputs={"f1": 0.5})

    project.acts["a"] = act
    for _ in range(2):
        report = await project.run()
        assert (project.ran, report.verdict) == (["a"], Verdict.FAIL)
