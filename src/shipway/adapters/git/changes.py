"""Which files of a project's folder differ from a commit; `pipeline changed` asks."""

import re
from pathlib import Path

import anyio

_TIMEOUT_S = 60.0
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/~^@{}-]*")


async def changed_files(root: Path, since: str) -> tuple[str, ...] | None:
    """Return the files that differ from a commit, relative to `root`, gone ones too; None when git cannot say it."""
    if not _REVISION.fullmatch(since):
        return None
    arguments = ["diff", "--name-only", "--no-renames", "--relative", "-z", since, "--", "."]
    try:
        with anyio.fail_after(_TIMEOUT_S):
            done = await anyio.run_process(["git", "-C", str(root), *arguments], check=False)
    except (FileNotFoundError, TimeoutError):
        return None
    if done.returncode != 0:
        return None
    return tuple(name for name in done.stdout.decode(errors="surrogateescape").split("\0") if name)
