"""The branch that is checked out, read from the files of the repository: asking starts no git."""

from pathlib import Path

_PREFIX = "ref: refs/heads/"


def current_branch(root: Path) -> str:
    """Return the branch of the working tree that a folder is in; empty without one."""
    for folder in (root, *root.parents):
        head = _head(folder / ".git")
        if head is not None:
            return head.removeprefix(_PREFIX).strip() if head.startswith(_PREFIX) else ""
    return ""


def _head(git: Path) -> str | None:
    try:
        if git.is_file():
            # A worktree: the file names its folder inside the repository.
            git = git.parent / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        return (git / "HEAD").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
