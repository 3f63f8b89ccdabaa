"""Whose turn it is to collect: one process of those that share a spool directory. `SpoolCollector` asks it."""

import fcntl
import os
from pathlib import Path

from shipway.core.clock import Clock

_BEAT_S = 1.0


class CollectorTurn:
    """A file lock, which dies with its process, and a beat, because a process that sleeps keeps its lock.

    Two that collect at once do no harm: the store skips known ids. The lock spares the work; it is no fence.
    """

    def __init__(self, lock_file: Path, clock: Clock, *, asleep_s: float) -> None:
        self._path = lock_file
        self._clock = clock
        self._asleep_s = asleep_s
        self._descriptor = -1
        self._held = False
        self._beat_ns = 0
        self._beat_seen_s = 0.0

    def is_mine(self) -> bool:
        """Return whether to collect now: the lock is free, ours, or its holder has not moved for `asleep_s`.

        Raises:
            OSError: the lock file cannot be used.
        """
        now_s = self._clock.monotonic_s()
        if self._held or self._try_lock():
            if now_s - self._beat_seen_s >= _BEAT_S:
                os.utime(self._descriptor)
                self._beat_seen_s = now_s
            return True
        beat_ns = os.fstat(self._descriptor).st_mtime_ns
        if beat_ns != self._beat_ns:
            self._beat_ns, self._beat_seen_s = beat_ns, now_s
        return now_s - self._beat_seen_s >= self._asleep_s

    def give_up(self) -> None:
        """Let the next one collect."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._held = -1, False

    def _try_lock(self) -> bool:
        if self._descriptor < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._beat_seen_s = self._clock.monotonic_s()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._held = True
        os.utime(self._descriptor)
        return True
