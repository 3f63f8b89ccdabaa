"""What one machine offers `up`: free ports, an exclusive lock, detached processes; implements `services.local.Host`."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from shipway.core.disk import explained
from shipway.core.errors import ConflictError, UsageError

_OWN_ADDRESS = "set server.host to 127.0.0.1, 0.0.0.0 (all addresses) or an address that this machine has"


_PRIVILEGED_BELOW = 1024


def _refuse_address(error: OSError, host: str, port: int) -> None:
    """Raise what is wrong with an address that no port of can be bound; nothing for a port in use."""
    if isinstance(error, socket.gaierror):
        raise UsageError(f"server.host {host!r} cannot be resolved: {error.strerror}", hint=_OWN_ADDRESS) from error
    if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        raise UsageError(f"server.host {host} is no address of this machine", hint=_OWN_ADDRESS) from error
    if error.errno == errno.EACCES and port and port < _PRIVILEGED_BELOW:
        message = f"port {port} on {host}: this user may not listen on ports below {_PRIVILEGED_BELOW}"
        raise UsageError(message, hint="set server.port to a higher port") from error


class LocalHost:
    """This machine.

    What is started detached has `variables` beside those of this process; `begun` is told its process id.
    """

    def __init__(
        self, variables: Mapping[str, str] | None = None, begun: Callable[[int], None] = lambda _pid: None
    ) -> None:
        self._detached: dict[int, subprocess.Popen[bytes]] = {}
        self._variables = dict(variables or {})
        self._begun = begun

    def free_port(self, host: str, preferred: int = 0) -> int:
        """Return a port nobody listens on: the preferred one when it is free, else the system's choice.

        The port may be taken again before it is used; whoever binds it reports that.

        Raises:
            ConflictError: there is none.
            UsageError: this machine has no such address, or this user may not listen there.
        """
        for port in (preferred, 0) if preferred else (0,):
            found = self._bound(host, port)
            if found is not None:
                return found
        raise ConflictError(f"no free port on {host}", hint="end programs that listen there, or set server.host")

    def require_port(self, host: str, port: int) -> int:
        """Return the port.

        Raises:
            ConflictError: something listens there.
            UsageError: this machine has no such address, or this user may not listen there.
        """
        if self._bound(host, port) is None:
            raise ConflictError(
                f"port {port} on {host} is in use by another program",
                hint="stop that program, or set server.port to another port (0 takes a free one)",
            )
        return port

    def _bound(self, host: str, port: int) -> int | None:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                _refuse_address(error, host, port)
                return None
            return int(probe.getsockname()[1])

    def lock(self, path: Path) -> int | None:
        """Take an exclusive lock for the life of this process; None while another process holds it.

        Raises:
            StoreError: the file cannot be made: a full disk, a read-only file system.
        """
        with explained(path, "cannot be locked"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_locked(self, path: Path) -> bool:
        """Tell whether a process holds the lock; nothing is written, so that it works in a read-only folder."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two who ask at the same moment do not take each other for the holder.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def unlock(self, descriptor: int) -> None:
        """Give a lock back."""
        os.close(descriptor)

    def start_detached(self, arguments: list[str], log_file: Path, cwd: Path) -> int:
        """Start `shipway ARGUMENTS` in a session of its own and return its pid.

        Raises:
            StoreError: the log file cannot be written.
        """
        with explained(log_file, "cannot be written"):
            log_file.parent.mkdir(parents=True, exist_ok=True)
            log = log_file.open("ab")
        with log:
            # Nobody waits for it here: it lives on after this command, that is what `up` is for.
            process = subprocess.Popen(
                [*self.program(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **self._variables},
                start_new_session=True,
            )
        self._detached[process.pid] = process
        self._begun(process.pid)
        return process.pid

    def exit_code(self, pid: int) -> int | None:
        """Return how a process of `start_detached` ended, None while it runs."""
        return self._detached[pid].poll()

    def program(self) -> list[str]:
        """Return the argv that starts this same Shipway."""
        return [sys.executable, "-m", "shipway.entrypoints.cli.main"]

    def terminate(self, pid: int) -> None:
        """Ask a process to end; nothing happens when it already has."""
        self._signal(pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        """End a process; nothing happens when it already has."""
        self._signal(pid, signal.SIGKILL)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
