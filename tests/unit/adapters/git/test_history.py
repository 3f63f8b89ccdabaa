import subprocess
from pathlib import Path

import pytest

from shipway.adapters.git.history import GitHistory

pytestmark = pytest.mark.anyio


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Ann", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, timeout=60, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "prompt.yaml").write_text("one")
    (tmp_path / "shop" / "b c.txt").write_text("one")
    (tmp_path / "top.txt").write_text("one")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "Say why")
    return tmp_path


async def test_files_changes_and_commits_are_those_of_the_folder(repository):
    folder = repository / "shop"
    (folder / "prompt.yaml").write_text("two")
    (repository / "top.txt").write_text("two")
    found = await GitHistory().read(folder, ["prompt.yaml", "gone.yaml"])

    assert (found.prefix, found.tracked, found.changed) == ("shop", {"prompt.yaml", "b c.txt"}, {"prompt.yaml"})
    (commit,) = found.commits["prompt.yaml"]
    assert commit.endswith(" Ann: Say why")
    assert "gone.yaml" not in found.commits
    assert found.ignored == frozenset()


async def test_what_is_ignored_is_neither_listed_nor_told_as_missing(repository):
    (repository / ".gitignore").write_text(".env\n")
    (repository / ".env").write_text("KEY=1")
    (repository / "new.txt").write_text("x")

    assert (await GitHistory().read(repository, [])).ignored == {".env"}
    assert await GitHistory().files(repository) == {
        "shop/prompt.yaml",
        "shop/b c.txt",
        "top.txt",
        "new.txt",
        ".gitignore",
    }


async def test_a_change_that_is_only_staged_is_a_change(repository):
    (repository / "top.txt").write_text("two")
    git(repository, "add", "-A")

    assert (await GitHistory().read(repository, [])).changed == {"top.txt"}


async def test_without_git_or_before_a_commit_there_is_no_history(tmp_path):
    assert await GitHistory().read(tmp_path, []) is None
    assert await GitHistory().files(tmp_path) is None
    git(tmp_path, "init", "-q")

    assert await GitHistory().read(tmp_path, []) is None
    assert await GitHistory().files(tmp_path) == frozenset()
