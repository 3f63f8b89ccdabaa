"""What processes of this host use, from Linux's /proc; `worker_counts` asks at each scrape."""

import contextlib
import os
from pathlib import Path

from shipway.telemetry.families import Tables

_PROC = Path("/proc")
_USER, _SYSTEM, _START = 11, 12, 19
"""Fields of /proc/PID/stat behind the command's name. Source: proc_pid_stat(5)."""
_RESIDENT = 21


class ProcessReader:
    """Reads /proc; a process that is gone, or a system without /proc, gives nothing."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def started(self, pid: int) -> int:
        """Return when a process started, in ticks since the system did; 0 when there is none."""
        fields = self._fields(pid)
        return int(fields[_START]) if fields else 0

    def usage(self, pid: int) -> Tables:
        """Return the `process_` families of a process."""
        fields = self._fields(pid)
        if not fields:
            return {}
        found: Tables = {
            "process_cpu_seconds": {(): (int(fields[_USER]) + int(fields[_SYSTEM])) / self._ticks},
            "process_resident_memory_bytes": {(): float(int(fields[_RESIDENT]) * self._page_bytes)},
        }
        booted_s = self._booted_s()
        if booted_s:
            found["process_start_time_seconds"] = {(): booted_s + int(fields[_START]) / self._ticks}
        with contextlib.suppress(OSError):
            found["process_open_fds"] = {(): float(sum(1 for _ in (self._proc / str(pid) / "fd").iterdir()))}
        return found

    def _fields(self, pid: int) -> list[str]:
        try:
            # The command's name may hold blanks and brackets; what follows its last bracket does not.
            fields = (self._proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return []
        return fields if len(fields) > _RESIDENT else []

    def _booted_s(self) -> float:
        try:
            lines = (self._proc / "stat").read_text().splitlines()
        except OSError:
            return 0.0
        return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), 0.0)
