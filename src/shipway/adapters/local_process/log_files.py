"""Log files that do not grow for ever: each process begins a new one when the present one is full.

The entry points of our own processes keep one `LogFile` each, for what the supervisor gave them as standard output.
Several processes write into one file while an old one finishes its requests; whoever comes first renames it, and the
others notice that their file is no longer the one of that name. No line is lost or cut: the descriptors are replaced
under the writers' feet by `dup2`, which is one step. What the supervisor starts and is not ours knows nothing of this:
`CopiedLogs` copies such a file and cuts it, which may lose what is written in between.
"""

import contextlib
import fcntl
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_LOOK_EVERY_S = 1.0
_PATIENCE = 3
"""Looks for which a file must be too large before somebody else than its writers cuts it."""
_TOO_LARGE = 1.5
_OUTPUTS = (1, 2)
_NAME = re.compile(r"(.+\.log)(\.\d+)?")
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLimits:
    """A file of more than `max_bytes` is put away (0: none is); `kept` older ones stay, `NAME.log.1` the newest."""

    max_bytes: int
    kept: int


class LogFile:
    """What a process writes into through some descriptors; `look` is called now and then."""

    def __init__(self, path: Path, limits: LogLimits, descriptors: Sequence[int] = _OUTPUTS) -> None:
        self._path = path
        self._limits = limits
        self._descriptors = descriptors

    def look(self) -> None:
        """Put the file away when it is full, and go on in the one that has its name."""
        mine = os.fstat(self._descriptors[0])
        if self._is_mine(mine) and 0 < self._limits.max_bytes < mine.st_size:
            with _alone(self._path.parent):
                # Another process may have been faster.
                if self._is_mine(mine):
                    _shift(self._path, self._limits.kept)
                    _put_away(self._path, self._limits.kept)
        if not self._is_mine(mine):
            self._reopen(mine)

    def _is_mine(self, mine: os.stat_result) -> bool:
        try:
            return os.path.samestat(mine, self._path.stat())
        except FileNotFoundError:
            return False

    def _reopen(self, mine: os.stat_result) -> None:
        fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for descriptor in self._descriptors:
                if os.path.samestat(mine, os.fstat(descriptor)):
                    os.dup2(fresh, descriptor)
        finally:
            os.close(fresh)


@dataclass(slots=True)
class CopiedLogs:
    """The logs of a folder, for those among them that their writers do not put away."""

    folder: Path
    limits: LogLimits
    _full: dict[tuple[int, int], int] = field(default_factory=dict)

    def look(self) -> None:
        """Copy and cut each file that has been too large for some looks."""
        full: dict[tuple[int, int], int] = {}
        for path in self.folder.glob("*.log") if self.limits.max_bytes else ():
            found = path.stat()
            if found.st_size > self.limits.max_bytes * _TOO_LARGE:
                place = (found.st_dev, found.st_ino)
                full[place] = self._full.get(place, 0) + 1
                if full[place] >= _PATIENCE:
                    del full[place]
                    self._cut(path)
        self._full = full

    def _cut(self, path: Path) -> None:
        with _alone(self.folder):
            _shift(path, self.limits.kept)
            if self.limits.kept:
                shutil.copyfile(path, _older(path, 1))
            os.truncate(path, 0)


def own_log(folder: Path) -> Path | None:
    """Return the log in `folder` that is this process's standard output; None when that is something else."""
    try:
        target = Path(f"/proc/self/fd/{_OUTPUTS[0]}").readlink()
    except OSError:
        return None
    match = _NAME.fullmatch(target.name)
    if match is None or not target.parent.is_dir() or not folder.is_dir() or not target.parent.samefile(folder):
        return None
    # It may have been put away between being opened for this process and now.
    return folder / match[1]


@contextmanager
def kept_small(folder: Path, limits: LogLimits, *, all_of_them: bool = False) -> Iterator[None]:
    """Look after this process's log while the block runs, and after those of the whole folder if it is to."""
    path = own_log(folder)
    logs: list[LogFile | CopiedLogs] = [] if path is None else [LogFile(path, limits)]
    if all_of_them:
        logs.append(CopiedLogs(folder, limits))
    if not logs:
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_look, args=(logs, over), name="log-files", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log, with those of the files that were put away when it is short.

    Raises:
        FileNotFoundError: there is no such log.
    """
    lines = _end(path, count)
    number = 1
    while len(lines) < count:
        try:
            lines = _end(_older(path, number), count - len(lines)) + lines
        except FileNotFoundError:
            break
        number += 1
    return lines


def _end(path: Path, count: int) -> list[str]:
    with path.open("rb") as file:
        first, text = file.seek(0, os.SEEK_END), b""
        while first and text.count(b"\n") <= count:
            size = min(first, _BLOCK)
            first -= size
            file.seek(first)
            text = file.read(size) + text
    return text.decode(errors="replace").splitlines()[-count:]


def _look(logs: Sequence[LogFile | CopiedLogs], over: threading.Event) -> None:
    while not over.wait(_LOOK_EVERY_S):
        for log in logs:
            # A full disk, a folder that is gone: the next look tries again.
            with contextlib.suppress(OSError):
                log.look()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = os.open(folder / ".rotation", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _shift(path: Path, kept: int) -> None:
    """Make the older files one older; those that are too many go."""
    numbers = (old.name.removeprefix(f"{path.name}.") for old in path.parent.glob(f"{path.name}.*"))
    for number in sorted((int(number) for number in numbers if number.isdigit()), reverse=True):
        if number >= kept:
            _older(path, number).unlink(missing_ok=True)
        else:
            _older(path, number).rename(_older(path, number + 1))


def _put_away(path: Path, kept: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if kept:
            path.rename(_older(path, 1))
        else:
            path.unlink()
