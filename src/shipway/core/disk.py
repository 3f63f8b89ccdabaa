"""What an error of the file system means to a person: a full disk, a read-only file system, another owner.

The store, the locks and what `up` writes down call it, so that all of them say the same thing in the same words.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.core.errors import StoreError, UsageError

_LEAST_FREE_BYTES = 1_000_000
"""With less, a store or a log file cannot grow; SQLite then reports anything from "full" to "I/O error"."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNSAID = (None, errno.EACCES, errno.EPERM, errno.EIO)
"""What leaves the cause open, so that the disk itself is looked at; any other number says it."""
_MAKE_ROOM = "make room on that disk and run the command again; what was stored before is intact"
_MAKE_WRITABLE = "mount it writable, or give this user the folder, and run the command again"


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the body into an error that says what failed, why, and what to do.

    Raises:
        StoreError: the body failed.
    """
    try:
        yield
    except OSError as error:
        raise disk_error(error, path, doing) from error


def disk_error(error: OSError, path: Path, doing: str) -> StoreError:
    """Return the error of ours for an OSError; `doing` is what failed, such as "cannot be locked"."""
    if error.errno in _FULL:
        return StoreError(f"{path} {doing}: the disk is full ({free_space(path)})", hint=_MAKE_ROOM)
    if error.errno == errno.EFBIG:
        return StoreError(f"{path} {doing}: it would be over the limit of file sizes", hint="raise `ulimit -f`")
    if error.errno == errno.EROFS:
        return StoreError(f"{path} {doing}: {_read_only(path)}", hint=_MAKE_WRITABLE)
    seen, remedy_seen = _obstacle(path) if error.errno in _UNSAID else ("", "")
    reason = seen or error.strerror or str(error)
    return StoreError(f"{path} {doing}: {reason}", hint=remedy_seen or "check the disk, the path and its owner")


def obstacle(path: Path) -> str:
    """Return what keeps this user from writing at a path, empty when nothing is seen."""
    return _obstacle(path)[0]


def remedy(path: Path) -> str:
    """Return what to do about the obstacle, empty when there is none."""
    return _obstacle(path)[1]


def require_writable_file(path: Path, option: str) -> None:
    """Check that a file can be written, before the work whose result goes there; nothing stays behind.

    Raises:
        UsageError: `option` names a path that cannot be written; says why.
    """
    reason = ""
    if path.is_dir():
        reason = f"{path} is a folder"
    elif not path.parent.is_dir():
        reason = f"there is no folder {path.parent}"
    elif path.exists() and not os.access(path, os.W_OK):
        reason = f"this user may not write {path}"
    reason = reason or obstacle(path) or _unmade(path)
    if reason:
        raise UsageError(f"{option}: {reason}", hint="name a file in a folder where this user may write")


def _obstacle(path: Path) -> tuple[str, str]:
    """Return the obstacle and what to do about it, both empty when nothing is seen."""
    folder = _nearest_folder(path)
    try:
        found = os.statvfs(folder)
    except OSError:
        return "", ""
    if found.f_flag & os.ST_RDONLY:
        return _read_only(path), _MAKE_WRITABLE
    # What has no size at all, such as /proc, is no disk that could be full.
    if found.f_blocks and found.f_bavail * found.f_frsize < _LEAST_FREE_BYTES:
        return f"the disk is full ({free_space(path)})", _MAKE_ROOM
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"this user may not write in {folder}, it is read-only for uid {os.geteuid()}", _MAKE_WRITABLE
    return "", ""


def _unmade(path: Path) -> str:
    """Return why no file can be made beside a path, empty where one can or the file is there already."""
    if path.exists():
        return ""
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        return f"no file can be made in {path.parent}: {error.strerror or error}"
    return ""


def _read_only(path: Path) -> str:
    return f"the file system of {_nearest_folder(path)} is read-only"


def free_space(path: Path) -> str:
    """Return how much is free on the disk of a path, such as "0.3 MB free on /data"."""
    folder = _nearest_folder(path)
    try:
        found = os.statvfs(folder)
    except OSError:
        return f"free space of {folder} unknown"
    return f"{found.f_bavail * found.f_frsize / 1e6:.1f} MB free at {folder}"


def _nearest_folder(path: Path) -> Path:
    return next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
