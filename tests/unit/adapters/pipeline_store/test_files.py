"""The project's files by pattern, and which of them somebody changed."""

import subprocess
from pathlib import Path

import pytest

from shipway.adapters.pipeline_store.files import LocalProjectFiles
from shipway.adapters.pipeline_store.stat_cache import StatCache
from shipway.core.errors import UsageError

pytestmark = pytest.mark.anyio


def files(root: Path) -> LocalProjectFiles:
    return LocalProjectFiles(root, StatCache(root / ".shipway/stat.json", lambda: 0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("src/a.py", "src/deep/b.py", "src/__pycache__/a.pyc", "src/gen/c.py", "docs/x.md", ".shipway/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["src"], ["src/a.py", "src/deep/b.py", "src/gen/c.py"]),
        (["**/*.py", "!src/gen"], ["src/a.py", "src/deep/b.py"]),
        (["docs/x.md", "src/*.py"], ["docs/x.md", "src/a.py"]),
        (["nothing/**", "none.txt"], []),
        (["**"], ["docs/x.md", "src/a.py", "src/deep/b.py", "src/gen/c.py"]),
    ],
)
async def test_patterns_find_files_and_leave_caches_out(root: Path, patterns: list[str], found: list[str]) -> None:
    assert list(await files(root).digests(patterns)) == found


async def test_a_link_that_leads_out_of_the_project_is_refused(root: Path) -> None:
    (root / "out").symlink_to(root.parent)
    with pytest.raises(UsageError, match="leads out of the project's folder through the link out; remove the link"):
        await files(root).digests(["out/**"])


async def test_a_linked_file_is_its_content(root: Path) -> None:
    (root / "src/link.py").symlink_to(root / "docs/x.md")
    found = await files(root).digests(["src/link.py", "docs/x.md"])
    assert found["src/link.py"] == found["docs/x.md"]


@pytest.mark.parametrize("with_git", ["git", "no git"])
async def test_new_changed_and_removed_files_are_seen_and_ignored_ones_are_not(root: Path, with_git: str) -> None:
    if with_git == "git":
        (root / ".gitignore").write_text("*.log\n")
        subprocess.run(["git", "init", "-q", str(root)], check=True)
    project = files(root)
    before = await project.watched(["docs"])
    (root / "new.txt").write_text("new")
    (root / "src/a.py").write_text("changed it")
    (root / "src/gen/c.py").unlink()
    (root / "src/__pycache__/b.pyc").write_text("x")
    (root / ".shipway/z").write_text("x")
    if with_git == "git":
        (root / "x.log").write_text("ignored")
    now = await project.watched(["docs"])
    assert {path for path in {*before, *now} if before.get(path) != now.get(path)} == {
        "new.txt",
        "src/a.py",
        "src/gen/c.py",
    }
