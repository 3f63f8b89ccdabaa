"""What chaos experiments ask of the machine; `adapters.chaos_faults` gives it, tests have fakes."""

from typing import Protocol

from shipway.chaos.journal import Undo


class Processes(Protocol):
    """Signals and limits of processes, which are named by pid and start time."""

    def started(self, pid: int) -> int:
        """Return when a process started, 0 when there is none."""
        ...

    def kill(self, pid: int, started: int) -> None:
        """End a process at once."""
        ...

    def stop(self, pid: int, started: int) -> None:
        """Let a process stand still until `resume`."""
        ...

    def resume(self, pid: int, started: int) -> bool:
        """Let it go on; False when it is gone."""
        ...

    def file_size_limit(self, pid: int) -> int:
        """Return how large files of a process may get, -1 without a limit."""
        ...

    def limit_file_size(self, pid: int, started: int, soft: int) -> bool:
        """Set how large its files may get; False when it is gone."""
        ...

    def require_listener(self, pid: int, port: int) -> None:
        """Check that a process of this user listens on a port of this machine."""
        ...


class Fault(Protocol):
    """One fault: prepared, made, taken away, cleaned up; each of the last two may come without the one before."""

    @property
    def undo(self) -> Undo:
        """Return what a later run must undo when this one dies."""
        ...

    async def prepare(self) -> None:
        """Put in place what the fault is made with; nothing is broken yet."""
        ...

    async def inject(self) -> None:
        """Break it."""
        ...

    async def remove(self) -> None:
        """Mend it."""
        ...

    async def clean(self) -> None:
        """Take away what `prepare` put in place."""
        ...


class Proxy(Protocol):
    """What stands between gateway and engine."""

    async def start(self) -> str:
        """Begin to listen and return the address."""
        ...

    async def stop(self) -> None:
        """Stop listening."""
        ...

    def break_it(self, *, fails: bool, delay_s: float, share: float) -> None:
        """Answer a share of the questions with errors, or late."""
        ...

    def mend(self) -> None:
        """Pass everything on."""
        ...


class Lock(Protocol):
    """The writer's lock of a store."""

    async def take(self) -> None:
        """Take it."""
        ...

    async def release(self) -> None:
        """Give it back."""
        ...
