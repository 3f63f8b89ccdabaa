"""Reading what git knows of a project's folder; implements `services.readiness.collect.History`."""

from collections.abc import Sequence
from pathlib import Path

from shipway.adapters.git.commits import asked
from shipway.readiness.facts import GitFacts

_MOST_COMMITS = 20


class GitHistory:
    """The `git` program."""

    async def read(self, root: Path, files: Sequence[str]) -> GitFacts | None:
        """Return the history of a folder and of `files` in it, None without git or before a commit."""
        commit = await asked(root, "rev-parse", "HEAD")
        if commit is None:
            return None
        prefix = (await asked(root, "rev-parse", "--show-prefix") or "").strip().rstrip("/")
        tracked = await self._names(root, "ls-files", "-z")
        changed = await self._names(root, "diff", "--name-only", "--relative", "-z", "HEAD", "--", ".")
        ignored = await asked(root, "check-ignore", ".env")
        commits = {path: await self._commits(root, path) for path in files if path in tracked}
        return GitFacts(
            commit.strip(), prefix, tracked, changed, frozenset({".env"} if ignored is not None else ()), commits
        )

    async def files(self, root: Path) -> frozenset[str] | None:
        """Return the files that are tracked, and those that are neither tracked nor ignored; None without git."""
        if await asked(root, "rev-parse", "--git-dir") is None:
            return None
        return await self._names(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")

    async def _commits(self, root: Path, path: str) -> tuple[str, ...]:
        found = await asked(root, "log", f"-n{_MOST_COMMITS}", "--format=%h %as %an: %s", "--", path)
        return tuple((found or "").splitlines())

    async def _names(self, root: Path, *arguments: str) -> frozenset[str]:
        return frozenset(name for name in (await asked(root, *arguments) or "").split("\0") if name)
