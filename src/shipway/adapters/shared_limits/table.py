"""The table of counters in memory that all workers of a host map; `limits` counts in it.

A file in `.shipway/run`: header, locks, tags, cells; and a lock file for each worker's column, which the kernel opens
when the worker dies, however it dies. The memory outlives every process; it is started anew after a reboot, because the
clock that rates are counted by begins anew then too. Spent money is kept even so.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shipway.adapters.shared_limits.mutexes import SIZE_BYTES, Mutexes
from shipway.core.disk import explained
from shipway.core.errors import ConflictError
from shipway.gateway.ledger import FIXED, STRIPES, Storage

COLUMNS = 136
"""Workers at once: twice the most that a project file may ask for, because old ones drain while new ones start."""
SLOTS = 32_768
"""Buckets. The file has holes where nobody counts: a worker with a hundred keys touches some twenty pages of it."""

_WORD = 8
_LOCKS_AT = 64
_HEADER = _LOCKS_AT + STRIPES * SIZE_BYTES // _WORD
"""Words before the slots: layout, boot, and from _LOCKS_AT the locks."""
_LAYOUT = 0x5357_4C49_0000_0001
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PERIOD = 2
_PART = 512
"""Slots whose cells fill a page of memory."""


class LimitTable:
    """One process's mapping, with a column of its own."""

    def __init__(self, folder: Path, *, slots: int = SLOTS, boot_id: str | None = None) -> None:
        self._slots = slots
        self._files: list[int] = []
        self.column = -1
        with explained(folder, "cannot hold the limits that workers share"):
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = folder
            with self._starting():
                self._map = self._mapped(folder / "counters", boot_id if boot_id is not None else _boot_id())
                self.column = self._own_column()
        self._cells = memoryview(self._map)[_WORD * (_HEADER + slots + 1) :].cast("d")
        self._tags = memoryview(self._map)[_WORD * _HEADER : _WORD * (_HEADER + slots + 1)].cast("Q")
        # Whoever had this column before is dead; what it held is free.
        self.reclaim(self.column)

    @property
    def storage(self) -> Storage:
        """Return the cells as the ledger takes them."""
        locks = self._mutexes
        return Storage(
            cells=self._cells,
            tags=self._tags,
            slots=self._slots,
            column=self.column,
            handles=locks.handles,
            lock=locks.lock,
            unlock=locks.unlock,
            healed=locks.heal,
        )

    def reclaim_dead(self) -> int:
        """Give back what dead workers held; returns how many there were."""
        found = 0
        for column in self._used_columns():
            with self._column_lock(column) as taken:
                if taken:
                    self.reclaim(column)
                    (self._folder / _column_file(column)).unlink(missing_ok=True)
                    found += 1
        return found

    def reclaim(self, column: int) -> None:
        """Take a column's reservations out of the totals; an update that its worker died in is healed with it."""
        cells, slots = self._cells, self._slots
        with self._alone():
            alive = [(FIXED + number) * slots for number in sorted({*self._used_columns(), self.column})]
            dead = (FIXED + column) * slots
            for part in _used(self._tags, slots):
                first, last = part.start, part.stop
                cells[dead + first : dead + last] = array("d", bytes(_WORD * len(part)))
                held = [cells[row + first : row + last] for row in alive]
                cells[slots + first : slots + last] = array("d", map(sum, zip(*held, strict=True)))

    def close(self) -> None:
        """Let go of column and memory; what this worker still held is free."""
        self.reclaim(self.column)
        with contextlib.suppress(OSError):
            (self._folder / _column_file(self.column)).unlink()
        self._cells.release()
        self._tags.release()
        # Somebody may hold `storage` still; the mapping goes with its last reference.
        with contextlib.suppress(BufferError):
            self._map.close()
        for file in self._files:
            os.close(file)
        self._files.clear()

    def _mapped(self, path: Path, boot_id: str) -> mmap.mmap:
        size = _WORD * (_HEADER + self._slots + 1 + self._slots * (FIXED + COLUMNS))
        file = self._opened(path.name)
        layout, booted = struct.unpack("=QQ", os.pread(file, 2 * _WORD, 0).ljust(2 * _WORD, b"\0"))
        boot = int.from_bytes(hashlib.blake2b(boot_id.encode(), digest_size=8).digest(), "big")
        known = os.fstat(file).st_size == size and layout == _LAYOUT
        if not known or booted != boot:
            # Cut and stretched, not overwritten: the holes cost neither disk nor memory.
            os.ftruncate(file, _WORD * (_HEADER + self._slots + 1 + self._slots * FIXED) if known else 0)
            os.ftruncate(file, size)
        mapped = mmap.mmap(file, size)
        words = memoryview(mapped).cast("Q")
        if known and booted != boot:
            _after_reboot(words, self._slots)
        first = ctypes.addressof(ctypes.c_char.from_buffer(mapped)) + _WORD * _LOCKS_AT
        self._mutexes = Mutexes([first + SIZE_BYTES * number for number in range(STRIPES)])
        if not known or booted != boot or not self._anybody():
            self._mutexes.make()
        words[0], words[1] = _LAYOUT, boot
        words.release()
        return mapped

    def _anybody(self) -> bool:
        """Tell whether another worker lives; its column's lock says so."""
        for column in self._used_columns():
            with self._column_lock(column) as dead:
                if not dead:
                    return True
        return False

    def _own_column(self) -> int:
        for column in range(COLUMNS):
            file = os.open(self._folder / _column_file(column), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _try_lock(file) and _is_there(file, self._folder / _column_file(column)):
                self._files.append(file)
                return column
            os.close(file)
        raise ConflictError(f"{COLUMNS} gateway workers share the limits in {self._folder} already")

    def _used_columns(self) -> list[int]:
        found = (path.name.removeprefix("worker-").removesuffix(".lock") for path in self._folder.glob("worker-*.lock"))
        return [int(number) for number in found if number.isdigit()]

    @contextmanager
    def _column_lock(self, column: int) -> Iterator[bool]:
        """Hold a column if its owner is dead; yields whether it is."""
        if column == self.column:
            yield False
            return
        try:
            file = os.open(self._folder / _column_file(column), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _try_lock(file) and _is_there(file, self._folder / _column_file(column))
        finally:
            os.close(file)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Let one process at a time begin."""
        file = self._opened("starting.lock")
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        locks = self._mutexes
        for handle in locks.handles:
            if locks.lock(handle):
                locks.heal(handle)
        try:
            yield
        finally:
            for handle in locks.handles:
                locks.unlock(handle)

    def _opened(self, name: str) -> int:
        # Not inherited: a child that kept the lock's description open would keep it locked.
        file = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._files.append(file)
        return file


def _used(tags: "memoryview[int]", slots: int) -> Iterator[range]:
    """Yield the parts in which slots are used: looking into a hole of the file fills it with memory."""
    for first in range(0, slots, _PART):
        part = range(first, min(first + _PART, slots))
        if any(tags[part.start : part.stop]):
            yield part


def _after_reboot(words: "memoryview[int]", slots: int) -> None:
    """Start rates anew and keep what is spent; the workers' own columns are cut off already."""
    tags = words[_HEADER : _HEADER + slots + 1]
    cells = words[_HEADER + slots + 1 :].cast("B").cast("d")
    for part in _used(tags, slots):
        for slot in part:
            if not cells[_PERIOD * slots + slot]:
                cells[slot] = 0.0
            cells[slots + slot] = 0.0


def _column_file(column: int) -> str:
    return f"worker-{column}.lock"


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_there(file: int, path: Path) -> bool:
    """Tell whether the locked file is still the one of that name: its owner may have removed it meanwhile."""
    try:
        return os.fstat(file).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
