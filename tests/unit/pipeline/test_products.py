"""What a stage made is its product and nothing else is: nobody's work is lost, no result is taken for another's."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from tests.unit.pipeline.project_stages import Act, Project, result_of

from shipway.core.errors import UsageError
from shipway.core.verdicts import Verdict
from shipway.pipeline.model import StageOutcome, StageResult
from shipway.pipeline.ports import StageContext
from shipway.pipeline.spec import Limit, StageSpec

pytestmark = pytest.mark.anyio


def stage(name: str, *needs: str, **settings: object) -> StageSpec:
    return StageSpec(name, run=("x",), needs=needs, **settings)  # type: ignore[arg-type]


def doing(act: Callable[[int], StageOutcome | None]) -> Act:
    """Return what a stage does, given the number of its attempt."""

    async def run(context: StageContext) -> StageOutcome | None:
        return act(context.attempt)

    return run


@pytest.fixture
def docs(tmp_path: Path) -> Project:
    """A project whose stage makes one file among those that a person wrote, and changes another."""
    project = Project(tmp_path, (stage("docs", inputs=("src",), outputs=("docs/**",)),))

    def act(_attempt: int) -> None:
        project.write("docs/gen.md", project.read("src/a"))
        project.write("docs/index.md", project.read("docs/index.md").replace("TODAY", project.read("src/a")))

    project.acts["docs"] = doing(act)
    project.write("src/a", "1")
    project.write("docs/hand.md", "by hand")
    project.write("docs/index.md", "index of TODAY")
    return project


async def test_a_file_that_the_stage_did_not_make_is_never_put_back(docs: Project) -> None:
    await docs.run()
    docs.write("docs/hand.md", "by hand, later")
    await docs.run()
    assert (docs.ran, docs.read("docs/hand.md")) == (["docs"], "by hand, later")
    await docs.run()
    assert docs.ran == []


async def test_a_file_that_a_person_removed_does_not_come_back(docs: Project) -> None:
    await docs.run()
    (docs.root / "docs/hand.md").unlink()
    await docs.run()
    assert (docs.ran, (docs.root / "docs/hand.md").exists()) == (["docs"], False)


async def test_only_what_the_stage_made_or_changed_is_stored(docs: Project) -> None:
    await docs.run()
    stored = {path.read_text() for path in (docs.root / docs.cache / "blobs").glob("??/*")}
    assert stored == {"1", "index of 1"}


async def test_a_product_that_a_person_changed_is_made_again_and_not_taken_from_the_cache(docs: Project) -> None:
    await docs.run()
    seen: list[str] = []

    def act(_attempt: int) -> None:
        seen.append(docs.read("docs/gen.md"))
        docs.write("docs/gen.md", "1")

    docs.acts["docs"] = doing(act)
    docs.write("docs/gen.md", "corrected by hand")
    await docs.run()
    assert (docs.ran, seen) == (["docs"], ["corrected by hand"])


async def test_a_product_as_it_was_before_the_stage_changed_it_is_changed_from_the_cache(docs: Project) -> None:
    await docs.run()
    docs.write("docs/index.md", "index of TODAY")
    await docs.run()
    assert (docs.ran, docs.read("docs/index.md")) == ([], "index of 1")


async def test_a_file_that_the_stage_only_changed_is_not_removed_before_the_next_run(docs: Project) -> None:
    await docs.run()
    docs.write("src/a", "2")
    report = await docs.run()
    assert (report.verdict, docs.read("docs/index.md")) == (Verdict.PASS, "index of 1")


async def test_a_product_written_again_with_the_same_content_is_one(docs: Project) -> None:
    docs.write("docs/gen.md", "1")
    await docs.run()
    (docs.root / "docs/gen.md").unlink()
    await docs.run()
    assert (docs.ran, docs.read("docs/gen.md")) == ([], "1")


async def test_a_cache_that_names_other_files_than_the_outputs_is_not_believed(docs: Project) -> None:
    await docs.run()
    for entry in (docs.root / docs.cache / "entries").glob("*"):
        data = entry.read_bytes().partition(b"\n")[0].replace(b"docs/gen.md", b"src/gen.md")
        entry.write_bytes(data + b"\n" + hashlib.sha256(data).hexdigest().encode())
    await docs.run()
    assert (docs.ran, (docs.root / "src/gen.md").exists()) == (["docs"], False)


def flaky(project: Project, first: Callable[[], None], second: Callable[[], None]) -> Act:
    """Return a stage that fails after the first and passes after the second."""

    def act(attempt: int) -> StageOutcome | None:
        if attempt == 1:
            first()
            return StageOutcome(Verdict.ERROR, 7, problem="exit code 7")
        second()
        return None

    return doing(act)


async def test_what_a_failed_attempt_made_does_not_pass_for_the_next_ones(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",), outputs=("out.bin",), retries=1),))
    project.write("src/a", "x")
    project.acts["a"] = flaky(project, lambda: project.write("out.bin", "half"), lambda: None)
    result = result_of(await project.run(), "a")
    assert (result.verdict, result.problem) == (
        Verdict.ERROR,
        "passed, but did not make out.bin, which its outputs promise",
    )
    assert not (tmp_path / "out.bin").exists()


async def test_a_retried_stage_is_kept_with_what_its_last_attempt_made(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",), outputs=("out/*",), retries=1),))
    project.write("src/a", "x")
    project.acts["a"] = flaky(
        project, lambda: project.write("out/half", "half"), lambda: project.write("out/whole", "whole")
    )
    assert dict(result_of(await project.run(), "a").files).keys() == {"out/whole"}
    await project.run()
    assert project.ran == []


async def test_what_a_failed_attempt_changed_is_told_and_the_result_is_not_kept(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",), outputs=("out/*",), retries=1),))
    project.write("src/a", "x")
    project.write("out/table", "rows")
    project.acts["a"] = flaky(project, lambda: project.write("out/table", "half of it"), lambda: None)
    first = result_of(await project.run(), "a")
    assert first.retried == ("exit code 7; it changed out/table, which cannot be undone, so the result is not kept",)
    assert first.verdict is Verdict.PASS
    assert (await project.run()).verdict is Verdict.PASS
    assert project.ran == ["a", "a"]


async def test_the_metrics_of_a_failed_attempt_are_not_those_of_the_next(tmp_path: Path) -> None:
    spec = stage("a", inputs=("src",), metrics="m.json", retries=1, gate=(Limit("score", min=1),))
    project = Project(tmp_path, (spec,))
    project.write("src/a", "x")
    project.write("m.json", '{"score": 0}')
    there: list[bool] = []
    project.acts["a"] = flaky(
        project,
        lambda: project.write("m.json", '{"score": 5}'),
        lambda: there.append((tmp_path / "m.json").exists()),
    )
    assert (await project.run()).verdict is Verdict.ERROR
    assert there == [False]


async def test_a_metrics_file_of_yesterday_is_not_that_of_a_second_attempt(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", metrics="m.json", retries=1),))
    project.write("m.json", '{"score": 5}')
    project.acts["a"] = flaky(project, lambda: None, lambda: None)
    result = result_of(await project.run(), "a")
    assert result.problem == "passed, but left its metrics file m.json as it was before"


async def test_what_a_run_that_failed_left_is_not_an_output_of_the_next(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",), outputs=("out/*",)),))
    project.write("src/a", "1")

    def act(_attempt: int) -> StageOutcome | None:
        number = project.read("src/a")
        project.write(f"out/{number}", number)
        return StageOutcome(Verdict.FAIL, 1) if number == "1" else None

    project.acts["a"] = doing(act)
    await project.run()
    assert project.read("out/1") == "1"
    project.write("src/a", "2")
    assert set(result_of(await project.run(), "a").files) == {"out/2"}


async def test_what_a_stage_that_was_cancelled_left_is_not_an_output_of_the_next_run(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src",), outputs=("out.bin",)),))
    project.write("src/a", "1")

    async def cut_off(_context: StageContext) -> None:
        project.write("out.bin", "half")
        cancelled.cancel()
        await anyio.sleep_forever()

    project.acts["a"] = cut_off
    with anyio.CancelScope() as cancelled:
        await project.run()
    project.acts["a"] = doing(lambda _attempt: None)
    assert "did not make out.bin" in result_of(await project.run(), "a").problem


async def test_a_stage_may_not_change_what_a_stage_before_it_made(tmp_path: Path) -> None:
    outputs = {"outputs": ("dist/**",), "inputs": ("src",)}
    project = Project(tmp_path, (stage("build", **outputs), stage("sign", "build", **outputs)))
    project.write("src/a", "x")
    project.acts["build"] = doing(lambda _attempt: project.write("dist/app", "app"))
    project.acts["sign"] = doing(lambda _attempt: project.write("dist/app", "signed app"))
    problem = "passed, but changed dist/app, which build made; write what comes of it to another file"
    assert result_of(await project.run(), "sign").problem == problem
    project.acts["sign"] = doing(lambda _attempt: project.write("dist/app.sig", "signature"))
    project.write("src/a", "y")
    assert (await project.run()).verdict is Verdict.PASS


async def test_inputs_that_match_no_file_are_an_error_that_names_them(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("daata", "scr/**")),))
    result = result_of(await project.run(), "a")
    assert (result.verdict, project.ran) == (Verdict.ERROR, [])
    assert result.problem.startswith("inputs: no file matches 'daata', 'scr/**', so nothing would decide the result")


async def test_one_pattern_that_matches_no_file_is_noted_with_the_result(tmp_path: Path) -> None:
    project = Project(tmp_path, (stage("a", inputs=("src", "requirements.txt", "!src/gen")),))
    project.write("src/a", "x")
    for known in ("", "cache"):
        result = result_of(await project.run(), "a")
        assert (result.known, result.notes) == (known, ("inputs: 'requirements.txt' matches no file",))


async def test_the_files_that_a_built_in_may_read_need_not_be_there(tmp_path: Path) -> None:
    project = Project(tmp_path, (StageSpec("lint", uses="lint", inputs=("*.py", "ruff.toml")),))
    memory = project.memory()
    assert (await memory.recall(project.stages[0], {})).notes == ()


@pytest.fixture
async def ran(tmp_path: Path) -> tuple[Project, StageResult]:
    """A project whose stage ran, and its result as a later run takes it."""
    project = Project(tmp_path, (stage("a", inputs=("src",), outputs=("out/*",)),))
    project.write("src/a", "x")
    project.acts["a"] = doing(lambda _attempt: project.write("out/[made]", "made"))
    return project, result_of(await project.run(), "a")


async def test_what_a_stage_left_that_does_not_run_is_put_back_when_it_is_gone(
    ran: tuple[Project, StageResult],
) -> None:
    project, result = ran
    (project.root / "out/[made]").unlink()
    await project.memory().provide(project.stages[0], result)
    assert project.read("out/[made]") == "made"


async def test_what_somebody_changed_is_not_built_on_and_not_overwritten(ran: tuple[Project, StageResult]) -> None:
    project, result = ran
    project.write("out/[made]", "tampered")
    with pytest.raises(UsageError, match=r"out/\[made\] is not as stage a left it") as refused:
        await project.memory().provide(project.stages[0], result)
    assert refused.value.hint == "make it again: `shipway pipeline run --until a`"
    assert project.read("out/[made]") == "tampered"


async def test_what_is_gone_from_the_cache_too_is_named(ran: tuple[Project, StageResult]) -> None:
    project, result = ran
    (project.root / "out/[made]").unlink()
    for entry in (project.root / project.cache / "entries").glob("*"):
        entry.unlink()
    with pytest.raises(UsageError, match=r"out/\[made\] is gone; stage a left it"):
        await project.memory().provide(project.stages[0], result)


async def test_a_link_out_of_the_project_is_named_with_what_to_do(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "app", tmp_path / "elsewhere"
    elsewhere.mkdir()
    project = Project(root, (stage("a", outputs=("dist/out/*",)),))
    root.mkdir()
    project.acts["a"] = doing(lambda _attempt: (root / "dist").symlink_to(elsewhere))
    problem = result_of(await project.run(), "a").problem
    assert "out of the project's folder through the link dist; remove the link" in problem
