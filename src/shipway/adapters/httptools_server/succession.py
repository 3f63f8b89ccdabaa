"""Connections from a worker that leaves to the one that takes its place; `server` gives and takes them.

A pair of Unix sockets that the supervisor keeps for each place among the workers: all who ever have the place inherit
both ends. A connection that nobody has taken yet waits in between, as it would in the queue of a listening socket.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

_AT_ONCE = 64
_MARK = b"c"


@dataclass(frozen=True, slots=True)
class Succession:
    """Both ends: descriptors are given at one and taken at the other; neither waits."""

    gives: socket.socket
    takes: socket.socket

    def give(self, client: socket.socket) -> bool:
        """Hand a connection over; False when there is no room for it now."""
        try:
            socket.send_fds(self.gives, [_MARK], [client.fileno()])
        except OSError:
            return False
        return True

    def taken(self) -> Iterator[socket.socket]:
        """Yield what was handed over."""
        for _ in range(_AT_ONCE):
            try:
                _mark, descriptors, _flags, _address = socket.recv_fds(self.takes, len(_MARK), 1)
            except OSError:
                return
            if not descriptors:
                return
            yield socket.socket(fileno=descriptors[0])
