"""Reading the commit of a working tree; implements `services.releases.SourceControl`."""

from pathlib import Path

import anyio

_TIMEOUT_S = 20.0


class Git:
    """The `git` program."""

    async def head(self, root: Path) -> tuple[str, bool] | None:
        """Return (commit, has uncommitted changes), or None without git, outside a repository or before a commit."""
        commit = await asked(root, "rev-parse", "HEAD")
        if commit is None:
            return None
        changes = await asked(root, "status", "--porcelain", "--", ".")
        return commit.strip(), bool((changes or "").strip())


async def asked(root: Path, *arguments: str) -> str | None:
    """Return what `git` prints; None without git, when it takes too long, and when it says no."""
    try:
        with anyio.fail_after(_TIMEOUT_S):
            done = await anyio.run_process(["git", "-C", str(root), *arguments], check=False)
    except (FileNotFoundError, TimeoutError):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
