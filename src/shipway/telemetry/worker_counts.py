"""The counts of all workers of this host, in one file for each process, so that any worker's `/metrics` is complete.

The gateway process runs it beside the server. A file is written once a second while something changes, and once more
at the end; a process that was killed loses the counts of its last second. A worker that starts again takes over what
its dead predecessors counted, so counters go on where they were.
"""

import asyncio
import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from shipway.telemetry.families import BY_NAME, Tables, Value, add, counters_of
from shipway.telemetry.processes import ProcessReader

_SUFFIX = ".counts.json"
_EVERY_S = 1.0
_MAX_RELEASES = 64
_OWN = ("process_",)
"""Read from the system at each scrape, never from a file."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """The contents of a file; `started` tells a process from a later one with its pid."""

    worker: str
    pid: int
    started: int
    tables: Tables
    absorbed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Remembered:
    """A file that was read, valid while its modification time is the same."""

    stamp: tuple[int, int]
    counts: _Counts | None = field(default=None)


class WorkerCounts:
    """This process's file and those of the others; `tables` gives what this process has counted.

    Implements `telemetry.metrics.OtherWorkers`.
    """

    def __init__(self, directory: Path, worker: str, tables: Callable[[], Tables], processes: ProcessReader) -> None:
        self._directory = directory
        self._worker = worker
        self._tables = tables
        self._processes = processes
        self._pid = os.getpid()
        self._path = directory / f"{worker}.{self._pid}{_SUFFIX}"
        self._base: Tables = {}
        self._absorbed: tuple[str, ...] = ()
        self._written = b""
        # The last write may meet the one that was running when the task was cancelled.
        self._writing = threading.Lock()
        self._read: dict[Path, _Remembered] = {}

    async def run(self) -> None:
        """Write this process's counts every second until cancelled; a full disk is not the requests' affair."""
        try:
            await asyncio.to_thread(self.start)
            while True:
                await asyncio.sleep(_EVERY_S)
                await asyncio.to_thread(self.write)
        finally:
            self.write()

    def start(self) -> None:
        """Take over what dead processes of this worker have counted, and write it before their files go."""
        with contextlib.suppress(OSError), self._alone():
            dead = {
                path: counts
                for path, counts in self._files()
                if counts.worker == self._worker and not self._lives(counts)
            }
            # Whose counts are inside one of these already, from a start that was cut short, must not count twice.
            inside = {name for counts in dead.values() for name in counts.absorbed}
            for path, counts in dead.items():
                if path.name not in inside:
                    add(self._base, counters_of(counts.tables))
            self._base = _recent(self._base)
            add(self._base, {"shipway_worker_starts": {(): 1.0}})
            self._absorbed = tuple(path.name for path in dead)
            if self.write():
                for path in dead:
                    path.unlink(missing_ok=True)
            self._absorbed = ()

    def write(self) -> bool:
        """Write this process's counts when they have changed; False when the disk does not take them."""
        with self._writing:
            return self._write()

    def _write(self) -> bool:
        found = self._own()
        add(found, self._base)
        content = orjson.dumps(
            {
                "worker": self._worker,
                "pid": self._pid,
                "started": self._processes.started(self._pid),
                "absorbed": self._absorbed,
                "tables": {name: [[*row] for row in rows.items()] for name, rows in found.items()},
            }
        )
        if content == self._written:
            return True
        draft = self._path.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            return False
        self._written = content
        return True

    def read(self) -> Mapping[str, Tables]:
        """Return the tables of every other process by worker, with what this one has taken over and uses."""
        found: dict[str, Tables] = {self._worker: {}}
        add(found[self._worker], self._base)
        add(found[self._worker], self._processes.usage(self._pid))
        with contextlib.suppress(OSError):
            files = [(path.name, counts) for path, counts in self._files() if path != self._path]
            inside = {name for _, counts in files for name in counts.absorbed} | set(self._absorbed)
            for name, counts in files:
                if name not in inside:
                    self._add_other(found.setdefault(counts.worker, {}), counts)
        return found

    def _add_other(self, into: Tables, counts: _Counts) -> None:
        if self._lives(counts):
            add(into, counts.tables)
            add(into, self._processes.usage(counts.pid))
        else:
            add(into, counters_of(counts.tables))

    def _own(self) -> Tables:
        # What the whole host shares is read anew by whoever is asked, so nobody hands it down.
        return {
            name: rows
            for name, rows in self._tables().items()
            if not name.startswith(_OWN) and not BY_NAME[name].of_host
        }

    def _lives(self, counts: _Counts) -> bool:
        return counts.started != 0 and self._processes.started(counts.pid) == counts.started

    def _files(self) -> Iterator[tuple[Path, _Counts]]:
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            counts = self._counts(path)
            if counts is not None:
                yield path, counts

    def _counts(self, path: Path) -> _Counts | None:
        try:
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            known = self._read.get(path)
            if known is None or known.stamp != stamp:
                known = self._read[path] = _Remembered(stamp, _parsed(path.read_bytes()))
        except FileNotFoundError:
            self._read.pop(path, None)
            return None
        return known.counts

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock under which files are taken over."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / "counts.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _parsed(raw: bytes) -> _Counts | None:
    """Return a file's counts, None when it is not one of ours."""
    try:
        data = orjson.loads(raw)
        tables: Tables = {
            name: {tuple(labels): _value(value) for labels, value in rows} for name, rows in data["tables"].items()
        }
        known = {name: rows for name, rows in tables.items() if name in BY_NAME}
        return _Counts(data["worker"], int(data["pid"]), int(data["started"]), known, tuple(data["absorbed"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _value(value: Any) -> Value:
    return [float(item) for item in value] if isinstance(value, list) else float(value)


def _recent(tables: Tables) -> Tables:
    """Return tables with the newest 64 releases: a worker that is restarted daily must not grow for ever."""
    position = {name: BY_NAME[name].labels.index("release") for name in tables if "release" in BY_NAME[name].labels}
    releases = [labels[index] for name, index in position.items() for labels in tables[name]]
    kept = set(list(dict.fromkeys(releases))[:_MAX_RELEASES])
    return {
        name: rows if name not in position else {k: v for k, v in rows.items() if k[position[name]] in kept}
        for name, rows in tables.items()
    }
