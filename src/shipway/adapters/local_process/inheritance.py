"""What a process is given by the one that starts it: listening sockets, and a pipe to say that it serves.

`spawner` hands them over as file descriptors and names them in the environment; the gateway's process takes them here.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from shipway.core.errors import ConflictError
from shipway.operations.supervision import ProcessSpec, Seat

SOCKETS = "SHIPWAY_SOCKETS"
SUCCESSION = "SHIPWAY_SUCCESSION"
READY = "SHIPWAY_READY"
SUCCEEDS = "SHIPWAY_SUCCEEDS"
_SERVES = b"serves\n"


@dataclass(frozen=True, slots=True)
class Inheritance:
    """The sockets of all workers, this one's first.

    `succession`: where a process that leaves gives connections, and where the next one takes them. `succeeds`: another
    process serves on the same socket until this one says that it does.
    """

    sockets: tuple[socket.socket, ...]
    succession: tuple[socket.socket, ...]
    ready: int | None
    succeeds: bool

    def tell_ready(self) -> None:
        """Say that this process serves; a parent that has gone is not told."""
        if self.ready is not None:
            with contextlib.suppress(OSError):
                os.write(self.ready, _SERVES)
                os.close(self.ready)


def inheritance(environ: Mapping[str, str]) -> Inheritance | None:
    """Take what this process was given; None when it was started by hand. To be called once."""
    if not environ.get(SOCKETS):
        return None
    sockets, succession, ready = (_descriptors(environ.get(name)) for name in (SOCKETS, SUCCESSION, READY))
    for descriptor in (*sockets, *succession, *ready):
        # Not for the children of this process: they would keep the port.
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the os module's signature
    return Inheritance(
        tuple(socket.socket(fileno=descriptor) for descriptor in sockets),
        tuple(socket.socket(fileno=descriptor) for descriptor in succession),
        ready[0] if ready else None,
        environ.get(SUCCEEDS) == "1",
    )


def variables(spec: ProcessSpec, ready: int | None, *, succeeds: bool) -> dict[str, str]:
    """Return the environment that names what a process is given."""
    named = {SOCKETS: spec.sockets, SUCCESSION: spec.succession, READY: () if ready is None else (ready,)}
    told = {name: ",".join(map(str, descriptors)) for name, descriptors in named.items() if descriptors}
    return told | ({SUCCEEDS: "1"} if succeeds else {})


def _descriptors(named: str | None) -> tuple[int, ...]:
    return tuple(map(int, named.split(","))) if named else ()


def seat(host: str, port: int, *, shared: bool) -> Seat:
    """Return a worker's place: an address that is not listened on yet, and the pair for who leaves and who comes.

    Raises:
        ConflictError: the port is in use.
    """
    listener = reserved(host, port, shared=shared)
    gives, takes = socket.socketpair()
    for end in (gives, takes):
        end.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return Seat(listener, gives, takes)


def reserved(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that has an address and does not listen yet, so that nobody waits for who is not there.

    Connections inherit its TCP_NODELAY. `shared`: several sockets have the address (SO_REUSEPORT); the kernel
    distributes connections among those that listen.

    Raises:
        ConflictError: the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise _named(error, host, port) from error
    made.setblocking(False)  # noqa: FBT003 - the socket module's signature
    return made


def listening(host: str, port: int, *, shared: bool = False, backlog: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConflictError: the port is in use.
    """
    made = reserved(host, port, shared=shared)
    try:
        made.listen(backlog)
    except OSError as error:
        made.close()
        raise _named(error, host, port) from error
    return made


def _named(error: OSError, host: str, port: int) -> OSError | ConflictError:
    if error.errno != errno.EADDRINUSE:
        return error
    hint = f"Stop the other process (`ss -ltnp 'sport = :{port}'` names it) or choose another port."
    return ConflictError(f"port {port} on {host} is in use", hint=hint)
