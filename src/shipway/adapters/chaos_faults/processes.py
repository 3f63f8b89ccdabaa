"""Faults of processes: killed, stopped, unable to write; each only on a process that is surely the meant one."""

import contextlib
import os
import resource
import signal
from pathlib import Path

from shipway.core.errors import ConflictError, ForbiddenError
from shipway.telemetry.processes import ProcessReader

_PROC = Path("/proc")
_LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp. Source: proc_net(5)."""


class LinuxProcesses:
    """Signals and limits, by pid and start time: a pid alone may have been given to another process."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc
        self._reader = ProcessReader(proc)

    def started(self, pid: int) -> int:
        """Return when a process started, 0 when there is none."""
        return self._reader.started(pid)

    def kill(self, pid: int, started: int) -> None:
        """End a process at once.

        Raises:
            ConflictError: it is another process now, or none.
        """
        self._require(pid, started)
        os.kill(pid, signal.SIGKILL)

    def stop(self, pid: int, started: int) -> None:
        """Let a process stand still until `resume`.

        Raises:
            ConflictError: it is another process now, or none.
        """
        self._require(pid, started)
        os.kill(pid, signal.SIGSTOP)

    def resume(self, pid: int, started: int) -> bool:
        """Let it go on; False when it is gone."""
        if not started or self._reader.started(pid) != started:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            return True
        return False

    def file_size_limit(self, pid: int) -> int:
        """Return how large files of a process may get, -1 without a limit."""
        return resource.prlimit(pid, resource.RLIMIT_FSIZE)[0]

    def limit_file_size(self, pid: int, started: int, soft: int) -> bool:
        """Set how large its files may get; 0 lets every write fail as on a full disk. False when it is gone.

        Only the soft limit is changed, so that it can be set back.
        """
        if not started or self._reader.started(pid) != started:
            return False
        with contextlib.suppress(ProcessLookupError):
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
            return True
        return False

    def require_listener(self, pid: int, port: int) -> None:
        """Check that a process of this user listens on a port of this machine, so that no stranger is touched.

        Raises:
            ForbiddenError: it does not.
        """
        if os.geteuid() and self._owner(pid) != os.geteuid():
            raise ForbiddenError(f"process {pid} is not one of this user")
        if not self._listening(port) & self._sockets(pid):
            raise ForbiddenError(f"process {pid} does not listen on port {port}", hint="name the pid that does")

    def _require(self, pid: int, started: int) -> None:
        if not started or self._reader.started(pid) != started:
            raise ConflictError(f"process {pid} ended meanwhile; nothing was done to it")

    def _owner(self, pid: int) -> int:
        with contextlib.suppress(OSError):
            return (self._proc / str(pid)).stat().st_uid
        return -1

    def _listening(self, port: int) -> set[str]:
        found: set[str] = set()
        for name in ("tcp", "tcp6"):
            with contextlib.suppress(OSError):
                for line in (self._proc / "net" / name).read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                        found.add(f"socket:[{fields[9]}]")
        return found

    def _sockets(self, pid: int) -> set[str]:
        found: set[str] = set()
        with contextlib.suppress(OSError):
            for descriptor in (self._proc / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(str(descriptor.readlink()))
        return found
