"""The project's files, found by patterns and told apart by content; implements `pipeline.ports.ProjectFiles`."""

import os
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import anyio.to_thread

from shipway.adapters.pipeline_store.stat_cache import StatCache
from shipway.adapters.pipeline_store.writing import STAGED_PREFIX
from shipway.core.errors import UsageError
from shipway.pipeline.patterns import SKIPPED_FOLDERS, fixed_part, has_wildcard, matches_any
from shipway.pipeline.ports import FileState

_GIT_TIMEOUT_S = 60.0


class LocalProjectFiles:
    """Files of this machine below the project's folder."""

    def __init__(self, root: Path, digests: StatCache) -> None:
        self._root = root
        self._digests = digests

    async def digests(self, patterns: Sequence[str]) -> dict[str, str]:
        """Return the digests of all files that match, by path."""
        return await anyio.to_thread.run_sync(self.digests_now, patterns)

    async def digests_of(self, paths: Collection[str]) -> dict[str, str]:
        """Return the digests of those of these files that are there."""
        return await anyio.to_thread.run_sync(self._digests_of, paths) if paths else {}

    async def states(self, patterns: Sequence[str]) -> dict[str, FileState]:
        """Return the states of all files that match, by path."""
        return await anyio.to_thread.run_sync(self._states, patterns)

    async def watched(self, patterns: Sequence[str]) -> dict[str, str]:
        """Return what tells a changed file from an unchanged one."""
        return await anyio.to_thread.run_sync(self._watched, patterns)

    async def remove(self, paths: Collection[str]) -> None:
        """Remove files that a stage made."""
        if paths:
            await anyio.to_thread.run_sync(self._remove, paths)

    def digests_now(self, patterns: Sequence[str]) -> dict[str, str]:
        """Return the digests of all files that match, by path; blocks."""
        return self._digests_of(sorted(self._matching(patterns)))

    def _digests_of(self, paths: Collection[str]) -> dict[str, str]:
        found = ((path, self._digests.digest(self._root / path)) for path in paths)
        return {path: digest for path, digest in found if digest is not None}

    def _states(self, patterns: Sequence[str]) -> dict[str, FileState]:
        found: dict[str, FileState] = {}
        for path, digest in self.digests_now(patterns).items():
            with suppress(OSError):
                there = (self._root / path).stat()
                # Written again with the same content, a file has another change time, which cannot be set back.
                found[path] = FileState(digest, f"{there.st_mtime_ns}:{there.st_ctime_ns}:{there.st_ino}")
        return found

    def _matching(self, patterns: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            if not pattern.startswith("!"):
                found.update(path for path in self._below(pattern) if matches_any(path, [pattern]))
        taken_out = [pattern for pattern in patterns if pattern.startswith("!")]
        return {path for path in found if matches_any(path, ["**", *taken_out])} if taken_out else found

    def _below(self, pattern: str) -> Iterator[str]:
        fixed = fixed_part(pattern)
        start = self._root / fixed
        if not start.resolve().is_relative_to(self._root.resolve()):
            link = next((there for there in (*reversed(start.parents), start) if self._leads_out(there)), start)
            raise UsageError(
                f"{pattern!r} leads out of the project's folder through the link"
                f" {link.relative_to(self._root).as_posix()}; remove the link and put a file or a folder there"
            )
        if start.is_dir():
            yield from _walk(start, f"{fixed}/" if fixed else "")
        elif not has_wildcard(pattern) and start.is_file():
            yield fixed

    def _leads_out(self, path: Path) -> bool:
        inside = path != self._root and path.is_relative_to(self._root)
        return inside and path.is_symlink() and not path.resolve().is_relative_to(self._root.resolve())

    def _watched(self, patterns: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in self._tracked_and_new():
            with suppress(OSError):
                there = os.lstat(self._root / path)
                found[path] = f"{there.st_size}:{there.st_mtime_ns}:{there.st_ino}"
        # What the stage reads is told apart by content: writing the same again changes nothing for it.
        return found | self.digests_now(patterns)

    def _tracked_and_new(self) -> Iterator[str]:
        argv = ["git", "-C", str(self._root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            done = subprocess.run(argv, capture_output=True, check=False, timeout=_GIT_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            done = None
        if done is None or done.returncode != 0:
            yield from _walk(self._root, "")
            return
        for name in done.stdout.split(b"\0"):
            path = os.fsdecode(name)
            *folders, base = path.split("/")
            if base and not base.startswith(STAGED_PREFIX) and not SKIPPED_FOLDERS.intersection(folders):
                yield path

    def _remove(self, paths: Collection[str]) -> None:
        for path in paths:
            place = self._root / path
            with suppress(OSError):
                if place.parent.resolve().is_relative_to(self._root.resolve()):
                    place.unlink()


def _walk(start: Path, prefix: str) -> Iterator[str]:
    """Yield the files below a folder; links to folders are not followed, they could lead in a circle."""
    try:
        entries = sorted(os.scandir(start), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in SKIPPED_FOLDERS:
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
        elif not entry.name.endswith(".pyc") and not entry.name.startswith(STAGED_PREFIX):
            yield prefix + entry.name
