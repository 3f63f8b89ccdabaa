"""Writing a plan; `shipway init` calls this after it has shown the plan."""

import os
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from shipway.core.errors import ConflictError, UsageError
from shipway.scaffold.model import FilePlan


async def apply_plan(plan: Sequence[FilePlan], target: Path, *, force: bool = False) -> None:
    """Write all files below `target`, or none.

    With `force` existing files are replaced. A failure half-way removes the files that were new.

    Raises:
        ConflictError: files exist already, and `force` is not given; or something stands where a folder must be.
        UsageError: a file cannot be written, or would lie outside of `target`.
    """
    await to_thread.run_sync(_apply, plan, target, force)


def conflicts(plan: Sequence[FilePlan], target: Path) -> list[str]:
    """Return the paths of the plan that exist already, a dangling link too."""
    return [str(file.path) for file in plan if os.path.lexists(target / file.path)]


def _apply(plan: Sequence[FilePlan], target: Path, force: bool) -> None:  # noqa: FBT001 - a thread takes no keywords
    _refuse_outside(plan, target)
    _refuse_blocked_folders(plan, target)
    taken = conflicts(plan, target)
    folders = [path for path in taken if (target / path).is_dir()]
    if folders:
        raise ConflictError(f"{target}: {', '.join(folders)} is a folder where a file must be; nothing was written")
    if taken and not force:
        raise ConflictError(
            f"{target} already has {', '.join(taken)}; nothing was written",
            hint="choose an empty folder, or --force to replace these files",
        )
    written: list[Path] = []
    try:
        for file in plan:
            path = target / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if str(file.path) in taken:
                _replace(path, file)
            else:
                _create(path, file, written)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        failed = error.filename or target
        raise UsageError(f"{failed}: cannot be written: {error.strerror}; new files were removed again") from error


def _create(path: Path, file: FilePlan, written: list[Path]) -> None:
    # Exclusively: a file that came to be since the check is not ours to replace.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    written.append(path)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.content.encode())


def _replace(path: Path, file: FilePlan) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(file.content.encode())
        partial.chmod(file.mode)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _refuse_outside(plan: Sequence[FilePlan], target: Path) -> None:
    root = target.resolve()
    for file in plan:
        if not (target / file.path).parent.resolve().is_relative_to(root):
            raise UsageError(f"{file.path}: leads out of {target}; nothing was written")


def _refuse_blocked_folders(plan: Sequence[FilePlan], target: Path) -> None:
    for folder in (target, *(target / parent for file in plan for parent in file.path.parents)):
        if os.path.lexists(folder) and not folder.is_dir():
            raise ConflictError(f"{folder} is a file where a folder must be; nothing was written")
