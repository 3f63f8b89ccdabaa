"""A plan is written whole or not at all."""

import stat
from pathlib import Path, PurePosixPath

import pytest

from shipway.core.errors import ConflictError, UsageError
from shipway.scaffold.apply import apply_plan, conflicts
from shipway.scaffold.model import FilePlan

pytestmark = pytest.mark.anyio

PLAN = (
    FilePlan(PurePosixPath("a.txt"), "new ä\n"),
    FilePlan(PurePosixPath("deep/er/b.sh"), "#!/bin/sh\n", 0o755),
    FilePlan(PurePosixPath("z.txt"), "new\n"),
)


def files_of(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


async def test_all_files_are_written_below_a_folder_that_need_not_exist(tmp_path: Path) -> None:
    await apply_plan(PLAN, tmp_path / "new")
    assert files_of(tmp_path / "new") == {"a.txt": "new ä\n", "deep/er/b.sh": "#!/bin/sh\n", "z.txt": "new\n"}
    assert stat.S_IMODE((tmp_path / "new/deep/er/b.sh").stat().st_mode) & 0o700 == 0o700


async def test_existing_files_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "z.txt").write_text("mine too")
    with pytest.raises(ConflictError, match=r"already has a\.txt, z\.txt; nothing was written"):
        await apply_plan(PLAN, tmp_path)
    assert files_of(tmp_path) == {"a.txt": "mine", "z.txt": "mine too"}


async def test_with_force_only_files_of_the_plan_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "other.txt").write_text("mine")
    await apply_plan(PLAN, tmp_path, force=True)
    assert files_of(tmp_path)["a.txt"] == "new ä\n"
    assert files_of(tmp_path)["other.txt"] == "mine"
    assert len(files_of(tmp_path)) == 4


async def test_a_dangling_link_is_a_conflict_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere")
    assert conflicts(PLAN, tmp_path) == ["a.txt"]
    with pytest.raises(ConflictError):
        await apply_plan(PLAN, tmp_path)
    await apply_plan(PLAN, tmp_path, force=True)
    assert (tmp_path / "a.txt").is_symlink() is False
    assert (tmp_path / "elsewhere").exists() is False


@pytest.mark.parametrize("force", [False, True])
async def test_a_folder_link_that_leads_out_is_refused(tmp_path: Path, *, force: bool) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "deep").symlink_to(outside)
    with pytest.raises(UsageError, match=r"deep/er/b\.sh: leads out of"):
        await apply_plan(PLAN, target, force=force)
    assert (files_of(outside), files_of(target)) == ({}, {})


@pytest.mark.parametrize("blocked", [".", "deep", "deep/er"])
async def test_a_file_where_a_folder_must_be_is_a_conflict(tmp_path: Path, blocked: str) -> None:
    target = tmp_path / "target"
    place = target / blocked
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")
    with pytest.raises(ConflictError, match="is a file where a folder must be"):
        await apply_plan(PLAN, target, force=True)
    assert list(files_of(tmp_path).values()) == ["mine"]


async def test_a_folder_where_a_file_must_be_is_a_conflict_even_with_force(tmp_path: Path) -> None:
    (tmp_path / "z.txt").mkdir()
    with pytest.raises(ConflictError, match=r"z\.txt is a folder where a file must be"):
        await apply_plan(PLAN, tmp_path, force=True)
    assert files_of(tmp_path) == {}


async def test_a_failure_half_way_removes_what_was_new(tmp_path: Path) -> None:
    plan = (*PLAN, FilePlan(PurePosixPath("n" * 300), "too long a name"))
    with pytest.raises(UsageError, match="cannot be written: File name too long; new files were removed again"):
        await apply_plan(plan, tmp_path)
    assert files_of(tmp_path) == {}
