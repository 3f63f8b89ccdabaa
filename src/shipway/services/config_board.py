"""How a configuration passes from `shipway reload` to this machine's gateway workers: files in `.shipway/run/config`.

A revision is a copy of the project file and its overlay that nobody edits, so that all workers read the same bytes.
`orders.json` says which revision is in force and which is to be prepared; each worker holds a lock for as long as it
lives and answers in a file of its own. A worker that starts reads the revision in force, not a file half edited.
"""

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shipway.config.loading import project_files
from shipway.core.disk import explained
from shipway.services.application import Workspace
from shipway.services.running import Host, read_json, write_json

_KEPT = 5
_REVISION = "revision-"


@dataclass(frozen=True, slots=True)
class Orders:
    """The revision in force and one to prepare beside it, 0 for none; `last` is the highest number ever given."""

    committed: int = 0
    prepare: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class WorkerAnswer:
    """What a worker says: the revision it serves by, the one it was last asked to prepare, and what hindered it.

    The keys are those of `config.changes.Changes`.
    """

    worker: str
    revision: int = 0
    answered: int = 0
    problem: str = ""
    now: tuple[str, ...] = ()
    at_restart: tuple[str, ...] = ()
    at_start: tuple[str, ...] = ()
    with_release: tuple[str, ...] = ()


class ConfigBoard:
    """The folder."""

    def __init__(self, workspace: Workspace, host: Host) -> None:
        self._folder = workspace.run / "config"
        self._supervisor_lock = workspace.run / "up.lock"
        self._orders_file = self._folder / "orders.json"
        self._lock_file = self._folder / "reload.lock"
        self._host = host
        self._read: tuple[tuple[int, int], Orders] = ((0, 0), Orders())

    # Revisions.

    def publish(self, root: Path, environment: str) -> int:
        """Copy the project's files as a new revision and return its number.

        Raises:
            StoreError: the disk is full or read-only.
        """
        revision = max([self.orders().last, *self._revisions()]) + 1
        with explained(self._folder, "cannot be written"):
            for file in project_files(root, environment):
                copy = self.files(revision) / file.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
        kept = {self.orders().committed, *sorted(self._revisions())[-_KEPT:]}
        for old in set(self._revisions()) - kept:
            shutil.rmtree(self.files(old), ignore_errors=True)
        return revision

    def begin(self, root: Path, environment: str) -> int:
        """Put the project's files into force for the processes that are about to start; returns their revision.

        Raises:
            StoreError: the disk is full or read-only.
        """
        revision = self.publish(root, environment)
        self.give(Orders(revision, 0, revision))
        return revision

    def files(self, revision: int) -> Path:
        """Return the folder of a revision's files."""
        return self._folder / f"{_REVISION}{revision:06d}"

    def is_edited(self, root: Path, environment: str) -> bool:
        """Return whether the project's files differ from the revision in force."""
        committed = self.files(self.orders().committed)
        if not committed.is_dir():
            return False

        def read(folder: Path) -> dict[Path, bytes]:
            return {path.relative_to(folder): path.read_bytes() for path in project_files(folder, environment)}

        return read(root) != read(committed)

    def drop(self, revision: int) -> None:
        """Remove a revision that did not come into force."""
        shutil.rmtree(self.files(revision), ignore_errors=True)

    def in_force(self) -> int:
        """Return the revision that a process which starts now must read; 0 when nobody runs who obeys one."""
        committed = self.orders().committed
        if not committed or not self.files(committed).is_dir():
            return 0
        return committed if self.is_supervised() or self.living() else 0

    def is_supervised(self) -> bool:
        """Return whether `shipway up` runs what runs here."""
        return self._host.is_locked(self._supervisor_lock)

    # Orders.

    def lock(self) -> int | None:
        """Become the one who gives orders; None while somebody else does."""
        return self._host.lock(self._lock_file)

    def unlock(self, lock: int) -> None:
        """Let others give orders."""
        self._host.unlock(lock)

    def is_commanded(self) -> bool:
        """Return whether somebody gives orders now."""
        return self._host.is_locked(self._lock_file)

    def orders(self) -> Orders:
        """Return the orders; cheap enough to be asked many times a second."""
        try:
            seen = self._orders_file.stat()
        except OSError:
            return Orders()
        mark = (seen.st_mtime_ns, seen.st_ino)
        if mark != self._read[0]:
            found = read_json(self._orders_file)
            if found is not None:
                self._read = (mark, Orders(*(int(found.get(name, 0)) for name in ("committed", "prepare", "last"))))
        return self._read[1]

    def give(self, orders: Orders) -> None:
        """Give orders.

        Raises:
            StoreError: the disk is full or read-only.
        """
        with explained(self._orders_file, "cannot be written"):
            write_json(self._orders_file, asdict(orders))

    # Workers.

    def join(self, name: str) -> int | None:
        """Hold a worker's lock for as long as it lives; None when that has to be tried again."""
        path = self._folder / f"{name}.lock"
        lock = self._host.lock(path)
        if lock is not None and not _is_at(lock, path):
            # Somebody took the file away as a dead worker's, between its making and its locking.
            self._host.unlock(lock)
            return None
        return lock

    def leave(self, name: str, lock: int) -> None:
        """Take a worker away."""
        for suffix in ("lock", "json"):
            with contextlib.suppress(OSError):
                (self._folder / f"{name}.{suffix}").unlink(missing_ok=True)
        self._host.unlock(lock)

    def answer(self, name: str, said: WorkerAnswer) -> None:
        """Write what a worker says.

        Raises:
            OSError: it cannot be written.
        """
        write_json(self._folder / f"{name}.json", asdict(said))

    def living(self) -> Mapping[str, WorkerAnswer | None]:
        """Return what the workers that live now say; None for one that has said nothing yet."""
        found: dict[str, WorkerAnswer | None] = {}
        for lock in sorted(self._folder.glob("gateway-*.lock")):
            if self._host.is_locked(lock):
                found[lock.stem] = self._said(lock.with_suffix(".json"))
            else:
                for left in (lock, lock.with_suffix(".json")):
                    with contextlib.suppress(OSError):
                        left.unlink(missing_ok=True)
        return found

    @staticmethod
    def _said(path: Path) -> WorkerAnswer | None:
        data = read_json(path)
        try:
            if data is None:
                return None
            said: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
            }
            return WorkerAnswer(**said)
        except TypeError:
            return None  # another version of Shipway wrote it

    def _revisions(self) -> list[int]:
        names = (path.name.removeprefix(_REVISION) for path in self._folder.glob(f"{_REVISION}*"))
        return [int(name) for name in names if name.isdigit()]


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there, held = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
